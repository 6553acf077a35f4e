"""The page in a real browser, used like by a person: at three widths, light and dark, by mouse and by keyboard."""

import json
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from kit.competition import rle
from kit.inference import thresholds_file
from kit.inference.maps import PROBABILITIES, upsample
from kit.inference.rules import ImageRule, TripletRule
from kit.inference.thresholds_file import read_measured
from kit.report import comparison, live
from kit.report import page as pages

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="browser tests need chromium and its driver: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that logs its console and all requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, finished):
    """Opens the page at a width and in a theme, and waits until its gallery is ready."""

    def opened(width=1280, theme="light", page=finished.page):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        wishes = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(page.absolute().as_uri())
        wait(lambda: browser.execute_script("return document.documentElement.dataset.ready") == "yes")
        return browser

    return opened


def wait(holds, seconds=60):
    """Waits until a condition holds; a machine may be slow."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def tiles(browser, name):
    """Returns a data attribute of each tile, in order."""
    return browser.execute_script(
        f"return [...document.querySelectorAll('#tiles li')].map((tile) => tile.dataset.{name})"
    )


def masks(browser):
    """Returns the number of painted pixels of each tile's mask."""
    script = "return [...document.querySelectorAll('#tiles canvas')].map((canvas) => Number(canvas.dataset.pixels))"
    return browser.execute_script(script)


def total(browser, place=0):
    return browser.find_elements("css selector", "#totals dd")[place].text


def slide(browser, name, *keys):
    """Moves a slider by keyboard and leaves it, upon which the gallery is sorted again."""
    find(browser, f"#{name}").send_keys(*keys)


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "light"), (1280, "dark"), (1920, "light")])
def test_the_page_is_quiet_fetches_nothing_and_fits(show, finished, width, theme):
    browser = show(width, theme)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert finished.page.absolute().as_uri() in asked
    assert [url for url in asked if not url.startswith(("data:", finished.page.absolute().as_uri()))] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    light = sum(json.loads(_colour(browser).replace("rgb(", "[").replace(")", "]"))) > 3 * 128
    assert light == (theme == "light")


def _colour(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_every_picture_has_a_text(show):
    browser = show()
    find(browser, "#tiles button").click()
    wait(lambda: find(browser, "#viewer canvas").get_attribute("aria-label"))
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('img, svg, canvas')].filter((picture) => !(picture.alt || "
        "picture.getAttribute('aria-label'))).map((picture) => picture.outerHTML.slice(0, 200))"
    )
    assert unnamed == []
    assert browser.execute_script("return document.querySelectorAll('#tiles img').length") == 40


def test_the_gallery_sorts(show, finished):
    browser = show()
    table = finished.cases.table.set_index("image_id")
    dice = [float(value) for value in tiles(browser, "dice")]
    assert len(dice) == 40
    assert dice == sorted(dice)
    assert table.dice[tiles(browser, "id")].to_numpy() == pytest.approx(np.array(dice), abs=1e-6)
    wanted = {
        "best": table.dice,
        "large": table.truth_area,
        "masked": table.mask_area,
        "probability": table.image_probability.round(5),
    }
    for order, column in wanted.items():
        Select(find(browser, "#sort")).select_by_value(order)
        values = column[tiles(browser, "id")].to_numpy()
        assert np.all(np.diff(values) <= 0), order
    Select(find(browser, "#sort")).select_by_value("id")
    assert tiles(browser, "id") == sorted(table.index)


def test_the_gallery_filters(show, finished):
    browser = show()
    table = finished.cases.table.set_index("image_id")
    wanted = {
        ("outcome", "missed"): table.outcome == "missed",
        ("outcome", "false positive"): table.outcome == "false positive",
        ("outcome", "positives"): table.truth_area > 0,
        ("sex", "F"): table.sex == "F",
        ("view", "AP"): table["view"] == "AP",
        ("fold", "1"): table.fold == 1,
        ("area", "≥ 3 %"): table.truth_area >= 32768,
        ("area", "< 0.2 %"): (table.truth_area > 0) & (table.truth_area < 2048),
    }
    for (name, value), chosen in wanted.items():
        Select(find(browser, f"#{name}")).select_by_value(value)
        assert sorted(tiles(browser, "id")) == sorted(table.index[chosen]), (name, value)
        assert find(browser, "#count").text == f"{chosen.sum()} of 40 images"
        Select(find(browser, f"#{name}")).select_by_index(0)
    some = table.index[7]
    find(browser, "#search").send_keys(some[-9:])
    assert some in tiles(browser, "id")
    assert all(image.endswith(some[-9:]) or some[-9:] in image for image in tiles(browser, "id"))


def test_sliders_change_masks_and_scores(show, finished):
    browser = show()
    Select(find(browser, "#sort")).select_by_value("id")
    before, score = masks(browser), total(browser)
    slide(browser, "removal", Keys.HOME)
    slide(browser, "level", Keys.HOME)
    wait(lambda: masks(browser) == [256 * 256] * 40)
    truth = finished.cases.counts.truth / finished.cases.counts.pixels
    assert total(browser) == f"{np.mean(2 * truth / (1 + truth)):.4f}" != score
    slide(browser, "removal", Keys.END)
    wait(lambda: masks(browser) == [0] * 40)
    assert total(browser) == f"{np.mean(truth == 0):.4f}"
    find(browser, "#reset").click()
    wait(lambda: masks(browser) == before)
    assert total(browser) == score


def test_scores_in_the_page_are_those_of_full_size(show, finished):
    """Compares every image's Dice by random thresholds in the page's script with the rules applied to the maps."""
    browser, random = show(), np.random.default_rng(0)
    script = """
        const [rule, done] = arguments;
        const data = JSON.parse(document.getElementById("data").textContent);
        Counts.of(data).then((counts) => done([...Array(counts.length).keys()].map((row) => {
          const cut = cutOf(rule, counts, data.cases.image_probability, row);
          return diceOf(counts.areaAt(row, cut), counts.overlapAt(row, cut), counts.truth[row]);
        })));
    """
    for _ in range(4):
        top, level = (int(value) for value in random.integers(1, 255, 2))
        removal = int(2 ** random.uniform(3, 16))
        for rule in (
            ImageRule(PROBABILITIES[level], removal),
            TripletRule(PROBABILITIES[top], PROBABILITIES[level], removal),
        ):
            given = {"name": rule.name, "level": level, "top": top, "removal": removal}
            assert browser.execute_async_script(script, given) == pytest.approx(dice_of(finished, rule)), given
    chosen = next(choice for choice in live.rule_choices(finished.run, finished.cases) if choice["name"] == "expected")
    fitted = thresholds_file.read(finished.run.rule("expected") / "thresholds.json").rule
    assert browser.execute_async_script(script, chosen) == pytest.approx(dice_of(finished, fitted))


def dice_of(finished, rule):
    shape, dice = finished.competition.shape, []
    for row, image in enumerate(finished.cases.table.image_id):
        mask = rule.mask(upsample(finished.cases.levels(row), shape))
        truth = rle.union(finished.competition.labels[image], shape)
        total = np.count_nonzero(mask) + np.count_nonzero(truth)
        dice.append(2 * np.count_nonzero(mask & truth) / total if total else 1.0)
    return dice


def test_a_map_is_enlarged_as_the_rules_do_it(show):
    browser, random = show(), np.random.default_rng(1)
    levels = random.integers(0, 256, (32, 32)).astype(np.uint8)
    large = browser.execute_script(
        "return [...enlarged(Uint8Array.from(arguments[0]), 32, 96)]", levels.ravel().tolist()
    )
    assert np.abs(np.array(large).reshape(96, 96) - upsample(levels, (96, 96))).max() <= 1


def test_the_run_s_own_masks_are_drawn_as_they_are(show, finished):
    browser = show()
    row = finished.cases.table.mask_area.idxmax()
    first = tiles(browser, "id").index(finished.cases.table.image_id[row])
    wait(lambda: masks(browser)[first])
    painted = browser.execute_script(
        "const canvas = document.querySelectorAll('#tiles canvas')[arguments[0]];"
        "const pixels = canvas.getContext('2d').getImageData(0, 0, 256, 256).data;"
        "return [...pixels].filter((_, i) => i % 4 === 3).map((alpha) => alpha > 0)",
        first,
    )
    mask = thresholds_file.read(finished.run.thresholds).rule.mask(upsample(finished.cases.levels(row), (256, 256)))
    outside = np.array(painted).reshape(256, 256) & ~mask
    assert (np.array(painted).reshape(256, 256) & mask).sum() > 0.98 * mask.sum()
    assert outside.sum() < 0.2 * mask.sum() + 2000  # lines, and that of the truth


def test_a_page_with_any_rule_in_use_opens(show, finished, tmp_path):
    """Each rule is put first in the page's data, like the rule of the run."""
    text = finished.page.read_text()
    [content] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data, page = json.loads(content), tmp_path / "report.html"
    for rule in data["rules"]:
        order = [rule, *(other for other in data["rules"] if other is not rule)]
        page.write_text(text.replace(content, pages.embedded(data | {"rules": order})))
        browser, found = show(page=page), read_measured(finished.run.rule(rule["name"]) / "thresholds.json").content
        assert total(browser) == f"{found['apparent_dice']:.4f}", rule["name"]
    own = {"name": "component", "exact": True}  # whose masks are known, and whose thresholds stay
    page.write_text(text.replace(content, pages.embedded(data | {"rules": [own, *data["rules"]]})))
    browser = show(page=page)
    score = total(browser)
    assert find(browser, "#borrowed").is_displayed()
    slide(browser, "level", Keys.HOME)
    wait(lambda: total(browser) != score)
    assert find(browser, "#rule").get_attribute("value") == "image"
    Select(find(browser, "#rule")).select_by_value("component")
    wait(lambda: total(browser) == score)


def test_the_viewer_opens_moves_and_closes_by_keyboard(show):
    browser = show()
    ids = tiles(browser, "id")
    first = find(browser, "#tiles button")
    first.send_keys(Keys.ENTER)
    wait(lambda: find(browser, "#viewer-title").text == ids[0])
    views = browser.find_elements("css selector", "#viewer canvas")
    assert [view.get_attribute("data-layer") for view in views] == ["image", "truth", "prediction", "probability"]
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait(lambda: find(browser, "#viewer-title").text == ids[1])
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(lambda: not find(browser, "#viewer").is_displayed())
    assert browser.switch_to.active_element.get_attribute("aria-label").startswith(f"Open Image {ids[1]}")


def test_two_runs_are_shown_in_one_gallery(show, finished, another, tmp_path):
    _, found = another
    pairs = comparison.pairs({"mine": finished.cases.table, "other": found.table})
    overview = pd.DataFrame([{"run": "mine", "dice": 0.5}, {"run": "other", "dice": 0.5}])
    gallery = live.pack(finished.run, finished.cases, finished.competition, ("other", found))
    target = tmp_path / "compare.html"
    target.write_text(pages.compare(pairs, overview, gallery, tmp_path / "compare"))
    browser = show(page=target)
    assert browser.get_log("browser") == []
    Select(find(browser, "#sort")).select_by_value("difference")
    apart = (finished.cases.table.dice - found.table.dice).abs()
    first = finished.cases.table.image_id[apart.idxmax()]
    wait(lambda: tiles(browser, "id")[0] == first)
    assert find(browser, "#tiles .other").text == f"other {found.table.dice[apart.idxmax()]:.3f}"
    find(browser, "#tiles button").click()
    wait(lambda: " · other 0." in find(browser, "#viewer-facts").text)


def test_points_of_a_figure_choose_their_images(show, finished):
    browser = show()
    [figure] = [figure for figure in finished.report.figures() if figure.name == "dice-against-area"]
    svg = find(browser, "figure[data-name=dice-against-area] svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    width, height = svg.size["width"], svg.size["height"]
    drag = ActionChains(browser).move_to_element_with_offset(svg, 4 - width / 2, 4 - height / 2).click_and_hold()
    drag.move_by_offset(width - 8, height - 8).release().perform()
    wait(lambda: find(browser, "#count").text == f"{len(figure.rows)} of 40 images")
    assert set(tiles(browser, "id")) == set(finished.cases.table.image_id[figure.rows])
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    point = browser.find_elements("css selector", "[id=dice-against-area-cases] use")[0]
    ActionChains(browser).move_to_element(point).click().perform()
    wait(lambda: find(browser, "#count").text == "1 of 40 images")
    find(browser, "#picked").click()
    wait(lambda: find(browser, "#count").text == "40 of 40 images")
    assert not find(browser, "#picked").is_displayed()


def test_the_address_leads_back_to_what_is_shown(show, finished):
    browser = show()
    Select(find(browser, "#sort")).select_by_value("large")
    Select(find(browser, "#outcome")).select_by_value("positives")
    slide(browser, "level", Keys.ARROW_RIGHT)
    level, score, shown = find(browser, "#level-value").text, total(browser), tiles(browser, "id")
    find(browser, "#tiles button").click()
    wait(lambda: find(browser, "#viewer-title").text == shown[0])
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready") == "yes")
    wait(lambda: find(browser, "#viewer-title").text == shown[0])
    assert (find(browser, "#level-value").text, total(browser), tiles(browser, "id")) == (level, score, shown)


def test_it_prints(show):
    browser = show()
    paper = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(paper) > 20_000
