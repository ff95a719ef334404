// Names for the theme's buttons that unfold a part of the contents; screen readers would say only "button".
document.addEventListener('DOMContentLoaded', () => {
  for (const button of document.querySelectorAll('.bd-sidebar-primary summary')) {
    const page = button.closest('li')?.querySelector('a')?.textContent.trim();
    button.setAttribute('aria-label', `Pages below ${page}`);
  }
});
