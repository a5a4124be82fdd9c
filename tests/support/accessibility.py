"""Accessibility audit of a page in a browser (WCAG 2.2, AA), without a library."""

from __future__ import annotations

from playwright.async_api import Page

_AUDIT = """
() => {
  const faults = [];
  const say = (what, element) => faults.push(what + ': ' + (element ? element.outerHTML.slice(0, 120) : 'page'));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.getClientRects().length > 0;

  // 3.1.1, 2.4.2, 1.3.1, 4.1.1
  if (!document.documentElement.lang) say('no language');
  if (!document.title.trim()) say('no title');
  if (all('h1').length !== 1) say('not exactly one h1');
  if (all('main').length !== 1) say('not exactly one main');
  const ids = all('[id]').map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) say('id twice: ' + id);

  // 1.3.1, 3.3.1, 3.3.2, 4.1.2
  for (const input of all('input:not([type=hidden])')) {
    if (!input.labels.length || !input.labels[0].textContent.trim()) say('no label', input);
    const descriptions = (input.getAttribute('aria-describedby') || '').split(' ').filter(Boolean);
    for (const id of descriptions) if (!document.getElementById(id)) say('described by nothing', input);
    const is_wrong = input.getAttribute('aria-invalid') === 'true';
    if (is_wrong && !descriptions.includes('error')) say('wrong, and without a description of the error', input);
    if (input.name && !input.autocomplete) say('no word for autocomplete', input);
  }
  for (const button of all('button')) if (!button.textContent.trim()) say('no name', button);

  // 2.5.8 asks for 24 px; a thumb wants 44.
  for (const target of all('button, input:not([type=hidden])')) {
    const box = target.getBoundingClientRect();
    if (box.height < 44 || box.width < 44) say('small to touch: ' + box.width + 'x' + box.height, target);
  }

  // 1.4.10: nothing is scrolled sideways.
  if (document.documentElement.scrollWidth > innerWidth) say('wider than the screen');

  // 1.4.3, 1.4.11
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).slice(0, 3).map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((numbers(color)[3] ?? 1) > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const element of all('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!seen(element) || !(own || element.matches('input'))) continue;
    const style = getComputedStyle(element), found = ratio(style.color, ground(element));
    if (found < 4.5) say('contrast ' + found.toFixed(2), element);
    if (element.matches('input')) {
      const border = ratio(style.borderTopColor, ground(element.parentElement));
      if (border < 3) say('contrast of the border ' + border.toFixed(2), element);
      const hint = ratio(getComputedStyle(element, '::placeholder').color, ground(element));
      if (element.placeholder && hint < 4.5) say('contrast of the example ' + hint.toFixed(2), element);
    }
  }
  return faults;
}
"""


async def faults(page: Page) -> list[str]:
    """The faults of the page as it is shown now: in light and dark colours, and in a narrow window."""
    found: list[str] = []
    size = page.viewport_size
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found += [f"{scheme}: {fault}" for fault in await page.evaluate(_AUDIT)]
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 320, "height": 640})
    found += [f"320 px: {fault}" for fault in await page.evaluate(_AUDIT)]
    if size is not None:
        await page.set_viewport_size(size)
    return sorted(set(found))
