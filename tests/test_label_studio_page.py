"""Raters in a real browser: one task of each kind, by keyboard and mouse, in headless Chromium.

`EMONET_SCREENSHOTS=DIR` keeps a picture of each page, to be looked at.
"""

import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from label_studio_server import EMAIL, PASSWORD, serving

from emonet_lightning.annotation.record import read_campaign
from emonet_lightning.cli import main
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.taxonomy import Taxonomy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WAIT = 60  # seconds: the machine may be busy


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("label_studio")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(server):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--window-size=1440,900", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = webdriver.Chrome(service=webdriver.ChromeService(driver), options=options)
    found.get(f"{server.url}/user/login/")
    wait(lambda: css(found, "[name=email]"))[0].send_keys(EMAIL)
    css(found, "[name=password]")[0].send_keys(PASSWORD)
    css(found, "[type=submit]")[0].click()
    wait(lambda: "login" not in found.current_url)
    yield found
    found.quit()


def css(browser, selector):
    return browser.find_elements("css selector", selector)


def wait(condition):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"not within {WAIT} s")


def open_page(browser, server, project):
    browser.get(f"{server.url}/projects/{project}/data?labeling=1")
    wait(lambda: [b for b in css(browser, "button[name=submit]") if b.is_enabled()])
    time.sleep(2)  # the image comes after the page


def image_loaded(browser):
    script = "return [...document.querySelectorAll('.emonet-row img')].some(image => image.naturalWidth > 50)"
    return browser.execute_script(script)


def close_instructions(browser):
    """Raters are shown the instructions first; returns their text."""
    modal = wait(lambda: css(browser, "[class*=modal], [role=dialog]"))
    text = " ".join(part.text for part in modal)
    from selenium.webdriver import ActionChains, Keys

    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    time.sleep(1)
    return text


def keep_picture(browser, name):
    if folder := os.environ.get("EMONET_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def submit_by_keys(browser):
    from selenium.webdriver import ActionChains, Keys

    ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()


def press(browser, key):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()
    time.sleep(0.5)


def begin(server, packed, name, *options):
    out = server.root / name
    words = ["annotate", "campaign", str(packed), "--out", str(out), "--name", name, *options]
    assert main([*words, "--progress=false"]) == 0
    campaign = read_campaign(out)
    return out, campaign, {(project.rater, project.round): project.id for project in campaign.projects}


def answers(server, project):
    query = {"exportType": "JSON"}
    return [
        task["annotations"][0] for task in server.client.get(f"/api/projects/{project}/export", params=query).json()
    ]


def test_a_rater_agrees_and_answers_yes_by_keys(server, browser, small_sets, tmp_path):
    options = ["--kind", "binary", "--raters", "anna,ben,cem,dora", "--num_images", "4"]
    out, _, projects = begin(server, small_sets["binary"], "yes or no", *options)
    open_page(browser, server, projects["anna", 0])
    keep_picture(browser, "consent")
    wait(lambda: css(browser, ".lsf-choice__item input"))[0].click()
    submit_by_keys(browser)
    wait(lambda: answers(server, projects["anna", 0]))

    open_page(browser, server, projects["anna", 1])
    keep_picture(browser, "instructions")
    assert "first impression" in close_instructions(browser)
    wait(lambda: image_loaded(browser))
    task = server.tasks(projects["anna", 1])[0]["data"]
    page = css(browser, ".emonet-row")[0].text
    assert task["ask"] in page
    assert " ".join(task["keywords"].split()) in " ".join(page.split())
    press(browser, "y")
    keep_picture(browser, "binary")
    submit_by_keys(browser)
    (given,) = wait(lambda: answers(server, projects["anna", 1]))
    assert given["result"][0]["value"]["choices"] == ["yes"]
    assert main(["annotate", "export", str(out), "--out", str(tmp_path), "--partial=true"]) == 0
    (vote,) = (tmp_path / "votes.csv").read_text().splitlines()[1:]
    assert ",anna,True," in vote


def test_a_rater_moves_two_of_forty_sliders(server, browser, small_sets, tmp_path):
    from selenium.webdriver import Keys

    options = ["--kind", "rating", "--raters", "anna", "--num_images", "1", "--consent", "none"]
    out, _, projects = begin(server, small_sets["hq"], "sliders", *options)
    open_page(browser, server, projects["anna", 1])
    close_instructions(browser)
    wait(lambda: image_loaded(browser))
    keep_picture(browser, "rating_closed")
    folds = css(browser, ".ant-collapse-header")
    assert len(folds) == 7
    folds[0].click()
    time.sleep(1)
    sliders = css(browser, ".emonet-slider input")
    assert len(sliders) == 40
    sliders[0].send_keys(Keys.ARROW_RIGHT * 6)
    sliders[1].send_keys(Keys.ARROW_RIGHT)
    keep_picture(browser, "rating")
    css(browser, "button[name=submit]")[0].click()
    wait(lambda: answers(server, projects["anna", 1]))
    assert main(["annotate", "export", str(out), "--out", str(tmp_path)]) == 0
    import pyarrow.parquet as parquet

    rows = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    first, second = Taxonomy.load("emonet40").slugs[:2]
    assert {row["emotion"]: row["rating"] for row in rows if row["touched"]} == {first: 5, second: 0}
    assert len(rows) == 40
    assert rows[0]["seconds"] > 1


def test_a_rater_must_choose_a_side(server, browser, small_sets, tmp_path):
    key = PackedSet.open(small_sets["hq"]).keys[0]
    left, right = ["Elation", "Amusement", "Contentment", "Pride", "Interest"], [
        "Hope/Enthusiasm/Optimism",
        "Intoxication/Altered States of Consciousness",
    ]  # fmt: skip
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"pair": "p1", "image": key, "left": left, "right": right}) + "\n")
    options = ["--kind", "preference", "--raters", "anna", "--pairs", str(pairs), "--consent", "none"]
    out, _, projects = begin(server, small_sets["hq"], "sides", *options)
    open_page(browser, server, projects["anna", 1])
    close_instructions(browser)
    wait(lambda: image_loaded(browser))
    submit_by_keys(browser)  # without a choice
    time.sleep(2)
    assert not answers(server, projects["anna", 1])
    press_escape = css(browser, ".ant-modal button")
    for button in press_escape[:1]:
        button.click()
        time.sleep(1)
    press(browser, "j")
    keep_picture(browser, "preference")
    sides = css(browser, ".emonet-side")
    assert [side.text.split("\n")[0].replace("\u200b", "") for side in sides] == ["Elation", "Hope/Enthusiasm/Optimism"]
    sizes = [float(line.value_of_css_property("font-size")[:-2]) for line in css(sides[0], "h1, h2, h3, h4, h5")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    submit_by_keys(browser)
    wait(lambda: answers(server, projects["anna", 1]))
    assert main(["annotate", "export", str(out), "--out", str(tmp_path / "tables")]) == 0
    assert (tmp_path / "tables" / "preferences.csv").read_text().splitlines()[1].startswith("p1,anna,right,")


def test_the_page_asks_no_other_machine(server, browser):
    """Last: over all pages that were opened before."""
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [entry["params"]["request"]["url"] for entry in asked if entry["method"] == "Network.requestWillBeSent"]
    hosts = {urlsplit(url).hostname for url in urls if url.startswith("http")}
    assert len(urls) > 20
    assert hosts == {"127.0.0.1"}
