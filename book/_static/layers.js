// Turns a list of pictures (div.layers > ul > li: image, bold title, text) into one stage: a switch and a slider a layer, a
// slider that uncovers the layers from the left (before, after), and one that enlarges. Without this script the list stays.
function slider(name, from, to, step, value, act) {
  const input = document.createElement('input');
  Object.assign(input, {type: 'range', min: from, max: to, step, value});
  input.setAttribute('aria-label', name);
  input.addEventListener('input', () => act(Number(input.value)));
  return input;
}

function row(...parts) {
  const line = document.createElement('div');
  line.className = 'layer-row';
  line.append(...parts);
  return line;
}

function stack(list) {
  const viewer = document.createElement('div');
  viewer.className = 'layer-viewer';
  viewer.setAttribute('role', 'group');
  viewer.setAttribute('aria-label', list.dataset.label);
  const frame = document.createElement('div');
  frame.className = 'layer-frame';
  frame.tabIndex = 0;
  frame.setAttribute('role', 'group');
  frame.setAttribute('aria-label', `${list.dataset.label}: pictures`);
  const stage = document.createElement('div');
  stage.className = 'layer-stage';
  frame.append(stage);
  const panel = document.createElement('fieldset');
  panel.innerHTML = '<legend>Layers, from bottom to top</legend>';
  const on = list.dataset.on.split('|');
  for (const item of list.querySelectorAll('li')) {
    const image = item.querySelector('img');
    const title = item.querySelector('strong').textContent;
    stage.style.aspectRatio ||= `${image.getAttribute('width')} / ${image.getAttribute('height')}`;
    stage.append(image);
    const label = document.createElement('label');
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.checked = on.includes(title);
    label.append(box, ` ${title}`);
    const opacity = slider(`Opacity of ${title}, percent`, 0, 100, 5, 100, () => draw());
    const text = document.createElement('span');
    text.className = 'layer-text';
    text.textContent = item.textContent.replace(title, '').replace(/^[\s:]+/, '');
    const draw = () => {
      image.hidden = !box.checked;
      image.style.opacity = opacity.value / 100;
      opacity.disabled = !box.checked;
    };
    box.addEventListener('change', draw);
    draw();
    panel.append(row(label, opacity, text));
  }
  const uncover = (percent) => {
    for (const image of [...stage.children].slice(1)) image.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    stage.style.setProperty('--edge', `${percent}%`);
    stage.classList.toggle('halved', percent > 0 && percent < 100);
  };
  panel.append(
    row('Before | after', slider('Uncover the layers from the left, percent', 0, 100, 1, 100, uncover)),
    row('Zoom', slider('Zoom', 1, 4, 0.25, 1, (times) => (stage.style.width = `${100 * times}%`))),
  );
  viewer.append(frame, panel);
  list.replaceWith(viewer);
}

document.addEventListener('DOMContentLoaded', () => document.querySelectorAll('div.layers').forEach(stack));
