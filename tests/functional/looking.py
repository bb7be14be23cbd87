"""What a page must be for everybody: read by axe-core, and by the eye's own measures that axe has no rule for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from axe_playwright_python.sync_playwright import Axe

from tests.patience import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from pipeline.sandbox.stack import Stack

WIDE, NARROW = 1300, 390
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

OFF_THE_SCREEN = """() => {
  const found = [];
  const page = document.documentElement.scrollWidth;
  if (page > innerWidth) found.push(`the page is ${page} wide`);
  const scrolls = (element) => element && (["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX) ||
    scrolls(element.parentElement));
  for (const element of document.querySelectorAll("main *")) {
    const place = element.getBoundingClientRect();
    if (place.width > 1 && place.right > innerWidth + 1 && !scrolls(element.parentElement)) {
      const what = `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`;
      found.push(`${what} goes to ${place.right}`);
    }
  }
  return found;
}"""

FAINT_BORDERS = """() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((each) => each / 255).map((each) =>
    each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4).reduce((sum, each, place) =>
    sum + each * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const colour = parts(getComputedStyle(element).backgroundColor);
    return colour.length === 3 || colour[3] > 0.9 ? colour : behind(element.parentElement);
  };
  const contrast = (one, other) => {
    const [most, least] = [light(one), light(other)].sort((a, b) => b - a);
    return (most + 0.05) / (least + 0.05);
  };
  const acted = "main :is(input:not([type=hidden], [type=checkbox]), select, textarea, button, .btn)";
  return [...document.querySelectorAll(acted)].filter((element) => element.offsetParent).flatMap((element) => {
    const style = getComputedStyle(element), back = behind(element.parentElement);
    const seen = Math.max(contrast(parts(style.borderTopColor), back), contrast(behind(element), back));
    const name = `${element.tagName} ${element.id || element.name || element.textContent}`;
    return seen >= 3 ? [] : [`${name}: ${seen.toFixed(2)}`];
  });
}"""

COME_TO_REST = """async () => {
  for (let frames = 0; frames < 3; frames++) await new Promise(requestAnimationFrame);
  const ends = document.getAnimations().filter((each) => each.effect.getComputedTiming().endTime !== Infinity);
  await Promise.allSettled(ends.map((each) => each.finished));
}"""
"""A theme fades in."""

UNSEEN_FOCUS = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element), place = element.getBoundingClientRect();
  const name = `${element.tagName} ${element.id || element.textContent.trim().slice(0, 30)}`;
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const onScreen = place.bottom > 0 && place.top < innerHeight;
  return {name, inMain: Boolean(element.closest("main")), marked: outlined || style.boxShadow !== "none", onScreen};
}"""


def problems(page: Page, name: str) -> list[str]:
    """What is wrong with a page in each theme and at each width; with CDR_LOOK set to a folder a picture of each stays.

    Args:
        page: open, and come to rest.
        name: what to call it.
    """
    found: list[str] = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": 900})
            where = f"{name}, {scheme}, {width} pixels"
            page.evaluate(COME_TO_REST)
            looked = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
            found += [
                f"{where}: {rule['id']} ({rule['help']}): {node['target']} {node.get('failureSummary', '')[:300]}"
                for rule in looked.response["violations"]
                for node in rule["nodes"]
            ]
            found += [f"{where}: off the screen: {each}" for each in page.evaluate(OFF_THE_SCREEN)]
            found += [f"{where}: a faint border: {each}" for each in page.evaluate(FAINT_BORDERS)]
            if folder := os.environ.get("CDR_LOOK"):
                page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)
    return found


def lost_on_the_way(page: Page) -> list[str]:
    """What is wrong with going through a page by the Tab key: what has the focus is seen and marked; one gets out."""
    found, seen = [], 0
    page.emulate_media(reduced_motion="reduce")  # else the page is still on its way when it is looked at
    for _ in range(200):
        page.keyboard.press("Tab")
        focus = page.evaluate(UNSEEN_FOCUS)
        if focus is None:
            break
        if focus["inMain"]:
            seen += 1
            found += [f"{focus['name']} is not marked"] if not focus["marked"] else []
            found += [f"{focus['name']} is out of sight"] if not focus["onScreen"] else []
    else:
        found.append("the focus never leaves the page")
    return found or ([] if seen else ["nothing in the page can be reached"])


def until_it_answers(client: httpx.Client, stack: Stack) -> None:
    """Flower was started: come back when it is there."""

    def answers() -> bool:
        try:
            return client.get("/healthcheck").status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, check=stack.check)
