// Turns a list of pictures (div.layers > ul > li: image, bold title, text) into one stage with a switch and a slider a
// layer. Without this script the list stays as it is.
function stack(list) {
  const viewer = document.createElement('div');
  viewer.className = 'layer-viewer';
  viewer.setAttribute('role', 'group');
  viewer.setAttribute('aria-label', 'Layers of one simulated patch');
  const stage = document.createElement('div');
  stage.className = 'layer-stage';
  const panel = document.createElement('fieldset');
  panel.innerHTML = '<legend>Layers, from bottom to top</legend>';
  const shown = ['PAS', 'Boxes', 'SAM'];
  for (const item of list.querySelectorAll('li')) {
    const image = item.querySelector('img');
    const title = item.querySelector('strong').textContent;
    stage.append(image);
    const row = document.createElement('div');
    row.className = 'layer-row';
    const label = document.createElement('label');
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.checked = shown.includes(title);
    label.append(box, ` ${title}`);
    const slider = document.createElement('input');
    Object.assign(slider, {type: 'range', min: 0, max: 100, step: 5, value: 100});
    slider.setAttribute('aria-label', `Opacity of ${title}, percent`);
    const text = document.createElement('span');
    text.className = 'layer-text';
    text.textContent = item.textContent.replace(title, '').replace(/^[\s:]+/, '');
    const draw = () => {
      image.hidden = !box.checked;
      image.style.opacity = slider.value / 100;
      slider.disabled = !box.checked;
    };
    box.addEventListener('change', draw);
    slider.addEventListener('input', draw);
    draw();
    row.append(label, slider, text);
    panel.append(row);
  }
  viewer.append(stage, panel);
  list.replaceWith(viewer);
}

document.addEventListener('DOMContentLoaded', () => document.querySelectorAll('div.layers').forEach(stack));
