"""The exported page in Chromium: answers, also without a network, and what it never does."""

import json
import os
import re
from itertools import combinations

import numpy as np
import pytest
from picture_files import coded, drawn, every_kind
from PIL import Image
from site_page import KEPT, READY, answered, choose, given, listen, open_site, runtime_folder
from static_server import StaticServer

from ship.made_export import ROWS, made_export
from tellapart.ship.prediction import Prediction, Rule
from tellapart.ship.predictor import load
from tellapart.ship.web.browser_runtime import HOST, SCRIPT, WASM
from tellapart.ship.web.site import write_site

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("TELLAPART_CHROMIUM", "/usr/bin/chromium")
CLASSES = ("red", "green", "blue")
HOSTILE = "<img src=x onerror=alert(1)>"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# What Chromium says where a test ends, and its server with it, while the page is being kept.
GONE = ["An unknown error occurred when fetching the script"]
SCREENS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def browser(chromium):
    """A second browser: with a camera that is drawn, and a name for this machine that is not `localhost`."""
    opened = chromium.browser_type.launch(
        executable_path=CHROMIUM,
        args=[
            "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            "--host-resolver-rules=MAP insecure.test 127.0.0.1",
        ],
    )  # fmt: skip
    yield opened
    opened.close()


@pytest.fixture
def visit(browser):
    """`visit(url, **options of the context)` gives a page that is ready. Whatever its console says, and every
    request to another server than its own, fails the test, unless a pattern in `page.expected` fits."""
    pages = []

    def go(url, *, kept=False, ready=True, **options):
        context = browser.new_context(locale="en-GB", **options)
        if ready:
            page = open_site(context, url, kept=kept)
        else:
            page = context.new_page()
            listen(page)
        page.expected, page.home = [*GONE], url
        pages.append(page)
        return page

    yield go
    for page in pages:
        page.context.close()
        heard = [x for x in page.heard if not any(re.search(p, x) for p in page.expected)]
        assert not heard, heard
        away = [x for x in page.asked if not x.startswith((page.home, "blob:", *page.expected))]
        assert not away, away


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("web") / "model.onnx", CLASSES, strange_from=0.9)


@pytest.fixture(scope="module")
def predictor(model):
    return load(model)


@pytest.fixture(scope="module")
def site(model):
    return write_site(model, model.parent / "site", runtime_folder())


@pytest.fixture
def server(site):
    with StaticServer(site) as running:
        yield running


@pytest.fixture
def page(visit, server):
    return visit(server.url)


def test_the_answer_is_that_of_python(page, predictor, tmp_path):
    file = tmp_path / "some picture.jpg"
    drawn().save(file)
    found = choose(page, file)
    expected = predictor.predict(file).to_json()
    assert found["path"] == file.name
    assert found["label"] == expected["label"]
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert found["verdict"] == expected["verdict"]
    assert found["reason"].lower() == expected["reason"] + "."
    assert found["error"] is None


def test_every_kind_of_file_gets_the_answer_of_python(page, predictor):
    apart = {}
    for name, content in every_kind().items():
        found, expected = choose(page, given(name, content)), predictor.predict(content).to_json()
        assert found["error"] is None, name
        pairs = [(found["probabilities"][c], expected["probabilities"][c]) for c in CLASSES]
        apart[name] = max(abs(a - b) for a, b in pairs)
        assert found["label"] == expected["label"], name
    assert max(apart.values()) < 0.003, apart
    assert len(apart) > 25


def test_turning_a_picture_matters_here(predictor):
    """So that the test above can fail."""
    turned = [drawn(), *(drawn().transpose(method) for method in Image.Transpose)]
    answers = [predictor.predict(picture).probabilities for picture in turned]
    assert min(np.abs(a - b).max() for a, b in combinations(answers, 2)) > 0.05


def test_a_very_large_picture(visit, tmp_path):
    """Of more than 25 million pixels, and no JPEG: it is drawn smaller."""
    model = made_export(tmp_path / "model.onnx", CLASSES)
    large = drawn(64, 64).resize((5200, 4900), Image.Resampling.BILINEAR)
    content = coded(large, "PNG", compress_level=1)
    with StaticServer(write_site(model, tmp_path / "site", runtime_folder())) as server:
        found = choose(visit(server.url), given("large.png", content))
    expected = load(model).predict(content).to_json()
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=0.003)


def test_a_file_that_is_no_picture_gets_a_sentence(page):
    whole = coded(drawn(), "JPEG")
    reasons = {
        "cut.jpg": (whole[: len(whole) // 2], "damaged"),
        "text.png": (b"no picture at all", "not an image"),
        "scan.tif": (coded(drawn(), "TIFF"), "not an image"),
        "page.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "damaged"),
        "empty.jpg": (b"", "empty"),
    }  # fmt: skip
    for name, (content, reason) in reasons.items():
        kind = "image/svg+xml" if name.endswith("svg") else "image/png"
        found = choose(page, given(name, content, kind))
        assert found["error"].startswith(f"This picture cannot be used: {reason} ("), name
        assert found["label"] is found["probability"] is found["verdict"] is None
        assert not page.locator("#picture").is_visible()
    assert choose(page, given("good.jpg", whole))["error"] is None
    assert page.locator("#picture").is_visible()


def test_none_of_these(page, predictor):
    white = coded(Image.new("RGB", (90, 70), "white"), "PNG")
    found, expected = choose(page, given("white.png", white)), predictor.predict(white)
    assert found["verdict"] == expected.verdict == "none_of_these"
    assert found["reason"].lower() == expected.reason.lower() + "."
    assert page.locator("#answer").inner_text().count("None of these") == 1


def test_a_runtime_that_breaks_is_started_again(page):
    tall = coded(Image.new("RGB", (2, ROWS)), "PNG")
    page.expected += ["error: .*onnxruntime"]
    first = page.evaluate("document.body.dataset.ready")
    assert "cannot be computed" in choose(page, given("tall.png", tall))["error"]
    page.wait_for_function("first => document.body.dataset.ready !== first", arg=first)
    assert choose(page, given("good.png", coded(drawn(), "PNG")))["error"] is None


def test_the_network_is_cut_after_the_first_load(visit, server):
    page = visit(server.url, kept=True)
    before = choose(page, given("a.png", coded(drawn(), "PNG")))
    server.stop()
    page.context.set_offline(True)
    for url in (server.url, f"{server.url}index.html", f"{server.url}?from=home"):
        page.goto(url)
        page.wait_for_function(READY)
        after = choose(page, given("a.png", coded(drawn(), "PNG")))
        assert after["probabilities"] == before["probabilities"]
    page.context.set_offline(False)
    assert server.asked.count("/a/project/model.onnx") == 1  # not again for later
    assert server.asked.count(f"/a/project/{WASM.path}") == 1


def kept_versions(page):
    names = page.evaluate("() => caches.keys()")
    return {name for name in names if name.startswith("tellapart")}


def test_a_new_version_is_taken_and_the_old_one_forgotten(visit, model, tmp_path):
    folder = write_site(model, tmp_path / "site", runtime_folder())
    with StaticServer(folder) as server:
        page = visit(server.url, kept=True)
        page.evaluate("() => caches.open('of somebody else')")
        old = kept_versions(page)
        newer = made_export(tmp_path / "new.onnx", ("ruby", "jade", "sky"))
        write_site(newer, folder, runtime_folder())
        page.reload()
        page.wait_for_function(READY)
        assert page.locator(".chips").inner_text().split() == list(
            CLASSES
        )  # at once, as it was kept
        for _ in range(300):
            if kept_versions(page).isdisjoint(old):
                break
            page.wait_for_timeout(200)
        page.reload()
        page.wait_for_function(READY)
        assert page.locator(".chips").inner_text().split() == ["ruby", "jade", "sky"]
        found = choose(page, given("a.png", coded(drawn(), "PNG")))
        assert set(found["probabilities"]) == {"ruby", "jade", "sky"}
        now = page.evaluate("() => caches.keys()")
        assert "of somebody else" in now
        assert len(now) == 2


def test_files_of_two_versions_are_never_mixed(visit, model, tmp_path):
    folder = write_site(model, tmp_path / "site", runtime_folder())
    other = made_export(tmp_path / "other.onnx", CLASSES, seed=1)
    (folder / "model.onnx").write_bytes(other.read_bytes())
    with StaticServer(folder) as server:
        page = visit(server.url, ready=False)
        page.goto(server.url)
        page.locator("#trouble").filter(
            has_text="not the one that this page was made with"
        ).wait_for()
        write_site(model, folder, runtime_folder())
        page.get_by_role("button", name="Try again").click()
        page.wait_for_function(READY)
        assert page.locator("#trouble").inner_text() == ""


def test_a_file_that_is_missing_is_named(visit, model, tmp_path):
    folder = write_site(model, tmp_path / "site", runtime_folder())
    (folder / "model.onnx").unlink()
    with StaticServer(folder) as server:
        page = visit(server.url, ready=False)
        page.expected += ["404"]
        page.goto(server.url)
        page.locator("#trouble").filter(
            has_text="model.onnx is not on the server (status 404)"
        ).wait_for()


class Elsewhere:
    """Serves the files of the runtime in place of the network; `wrong` is one that was changed."""

    def __init__(self, page, folder, wrong=None):
        self.asked = []
        self._files = {}
        for file in (SCRIPT, WASM):
            self._files[file.url] = runtime_folder() / "dist" / file.name
            if file is wrong:
                self._files[file.url] = folder / file.name
                whole = (runtime_folder() / "dist" / file.name).read_bytes()
                self._files[file.url].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        page.expected.append(HOST)
        page.context.route(f"{HOST}/**", self._answer)

    def _answer(self, route):
        self.asked.append((route.request.url, route.request.headers.get("referer")))
        allowed = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(path=self._files[route.request.url], headers=allowed)


@pytest.mark.parametrize("wrong", [SCRIPT, WASM], ids=lambda file: file.name)
def test_a_changed_runtime_from_elsewhere_is_not_run(wrong, visit, model, tmp_path):
    with StaticServer(write_site(model, tmp_path / "site")) as server:
        page = visit(server.url, ready=False)
        Elsewhere(page, tmp_path, wrong)
        page.goto(server.url)
        trouble = page.locator("#trouble").filter(
            has_text="not the one that this page was made with"
        )
        trouble.wait_for()
        assert wrong.name in trouble.inner_text()
        assert page.evaluate("document.body.dataset.ready ?? null") is None


def test_the_runtime_from_elsewhere_is_asked_for_once(visit, model, tmp_path):
    with StaticServer(write_site(model, tmp_path / "site")) as server:
        page = visit(server.url, ready=False)
        elsewhere = Elsewhere(page, tmp_path)
        page.goto(server.url)
        page.wait_for_function(KEPT, timeout=60_000)
        assert sorted(elsewhere.asked) == sorted([(SCRIPT.url, None), (WASM.url, None)])
        assert choose(page, given("a.png", coded(drawn(), "PNG")))["error"] is None
        server.stop()
        page.context.unroute(f"{HOST}/**")
        page.context.set_offline(True)
        page.reload()
        page.wait_for_function(READY)
        assert choose(page, given("a.png", coded(drawn(), "PNG")))["error"] is None


def test_without_https_it_answers_and_only_keeps_nothing(visit, server):
    """As a phone sees a computer on the same network: no service worker, no camera, no digests by script."""
    page = visit(server.url.replace("127.0.0.1", "insecure.test"))
    assert page.evaluate("() => [isSecureContext, 'serviceWorker' in navigator]") == [False, False]
    assert choose(page, given("a.png", coded(drawn(), "PNG")), "#take")["error"] is None
    with page.expect_file_chooser():
        page.get_by_text("Take a picture").click()


def test_without_https_a_changed_file_is_not_run_either(visit, model, tmp_path):
    folder = write_site(model, tmp_path / "site", runtime_folder())
    other = made_export(tmp_path / "other.onnx", CLASSES, seed=1, strange_from=0.9)
    assert other.stat().st_size == model.stat().st_size
    (folder / "model.onnx").write_bytes(other.read_bytes())
    with StaticServer(folder) as server:
        page = visit(server.url.replace("127.0.0.1", "insecure.test"), ready=False)
        page.expected += ["integrity", "failed"]
        page.goto(page.home)
        page.locator("#trouble").filter(has_text="model.onnx could not be loaded").wait_for()


def test_the_policy_lets_nothing_out(page):
    page.expected += ["Content Security Policy", "Refused", "https://x.test/"]
    tried = page.evaluate(
        """async () => {
          const said = [];
          addEventListener("securitypolicyviolation", (event) => said.push(event.effectiveDirective));
          await fetch("https://x.test/").catch(() => {});
          document.body.append(Object.assign(new Image(), { src: "https://x.test/a.png" }));
          const inline = document.createElement("script");
          inline.textContent = "window.ran = true";
          document.body.append(inline);
          await new Promise((done) => setTimeout(done, 200));
          return [window.ran ?? null, said.sort()];
        }"""
    )
    assert tried == [None, ["connect-src", "img-src", "script-src-elem"]]


def test_names_are_text_wherever_they_come_from(visit, tmp_path):
    classes = (HOSTILE, "__proto__", "12")
    model = made_export(tmp_path / "model.onnx", classes, name=HOSTILE, sharpness=0.2)
    with StaticServer(write_site(model, tmp_path / "site", runtime_folder())) as server:
        page = visit(server.url)
        found = choose(page, given(f"{HOSTILE}.png", coded(drawn(), "PNG")))
        assert set(found["probabilities"]) == set(classes)
        assert page.title() == page.locator("h1").inner_text() == HOSTILE
        assert found["path"] == f"{HOSTILE}.png"
        assert HOSTILE in page.locator("#answer .answer-bars").inner_text()
        assert page.locator("img[src=x]").count() == 0


def test_many_classes_are_summed(visit, tmp_path):
    model = made_export(
        tmp_path / "model.onnx", tuple(f"class {i}" for i in range(40)), sharpness=0.3
    )
    with StaticServer(write_site(model, tmp_path / "site", runtime_folder())) as server:
        page = visit(server.url, viewport={"width": 320, "height": 600})
        found = choose(page, given("a.png", coded(drawn(), "PNG")))
        expected = load(model).predict(coded(drawn(), "PNG"))
        assert list(found["probabilities"]) == [name for name, _ in expected.top(5)]
        rest = 1 - sum(share for _, share in expected.top(5))
        assert page.locator(".bar").last.inner_text().split("\n") == [
            "35 others",
            f"{100 * rest:.1f} %",
        ]
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_keys_alone(page):
    def press():
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "take"
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "choose"
            label = page.get_by_text("Choose a picture")
            assert label.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            page.keyboard.press("Enter")
        chooser.value.set_files(given("a.png", coded(drawn(), "PNG")))

    assert answered(page, press)["error"] is None
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_text("How good it is").is_visible()
    assert "294 of 300" in page.locator(".about").inner_text()


def test_dropping_and_pasting(page):
    content = list(coded(drawn(), "PNG"))
    give = """([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: "image/png" }));
      const dropped = { dataTransfer: data, cancelable: true, bubbles: true };
      if (kind === "drop") document.body.dispatchEvent(new DragEvent("drop", dropped));
      else document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
    }"""
    for kind in ("drop", "paste"):
        found = answered(page, lambda kind=kind: page.evaluate(give, [kind, content]))
        assert found["path"] == f"{kind}.png"
        assert found["error"] is None


def test_the_last_picture_chosen_is_the_one_answered(page):
    large = drawn(64, 64).resize((5200, 4900), Image.Resampling.BILINEAR)  # takes a second
    page.evaluate(
        """() => {
          window.shown = [];
          const look = () => shown.push(document.querySelector(".answer-path")?.textContent ?? "");
          new MutationObserver(look).observe(document.querySelector("#answer"), { childList: true });
        }"""
    )
    page.set_input_files("#choose", given("large.png", coded(large, "PNG", compress_level=1)))
    page.wait_for_function("() => document.querySelector('#picture').complete")
    page.set_input_files("#choose", given("passed over.png", coded(drawn(), "PNG")))
    page.set_input_files("#choose", given("last.png", coded(drawn(), "PNG")))
    page.locator("#answer .answer-path").filter(has_text="last.png").wait_for()
    page.wait_for_timeout(300)
    assert set(page.evaluate("() => shown")) == {"", "last.png"}


def test_a_picture_chosen_while_the_model_loads_is_answered(visit, server):
    page = visit(server.url, ready=False)
    page.goto(server.url)
    page.wait_for_selector("#progress")
    assert choose(page, given("a.png", coded(drawn(), "PNG")))["error"] is None


def test_the_camera_of_a_desk(page, shot):
    page.get_by_text("Take a picture").click()
    page.wait_for_selector("#shoot:enabled")
    shot(page, "web-camera")
    found = answered(page, lambda: page.get_by_role("button", name="Take the picture").click())
    assert found["error"] is None
    assert page.evaluate("document.querySelector('#view').srcObject") is None
    assert not page.locator("#camera").is_visible()
    page.get_by_text("Take a picture").click()
    page.wait_for_selector("#shoot:enabled")
    stream = page.evaluate_handle("document.querySelector('#view').srcObject")
    page.keyboard.press("Escape")
    page.wait_for_function("s => s.getTracks().every((t) => t.readyState === 'ended')", arg=stream)


def test_a_camera_that_is_refused(page):
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = () =>
             Promise.reject(new DOMException("no", "NotAllowedError")); }"""
    )
    page.get_by_text("Take a picture").click()
    page.locator("#camera-trouble").filter(has_text="the browser does not allow it").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert not page.locator("#camera").is_visible()


@pytest.mark.parametrize("name", SCREENS)
def test_axe_finds_nothing(name, visit, server, shot):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    width = SCREENS[name]["viewport"]["width"]

    def check(state):
        page.wait_for_timeout(300)  # bars that grow
        shot(page, f"web-{name}-{state}")
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    page = visit(server.url, bypass_csp=True, **SCREENS[name])
    check("before")
    choose(page, given("some picture of a hill.png", coded(drawn(), "PNG")))
    check("answer")
    choose(page, given("white.png", coded(Image.new("RGB", (90, 70), "white"), "PNG")))
    check("none")
    choose(page, given("cut.png", coded(drawn(), "PNG")[:500]))
    page.locator("summary").click()
    check("error")
    if "phone" not in name:
        page.get_by_text("Take a picture").click()
        page.wait_for_selector("#shoot:enabled")
        check("camera")


def test_it_can_be_installed(page, server):
    """What Chromium itself says of manifest and icons."""
    session = page.context.new_cdp_session(page)
    manifest = session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    said = json.loads(manifest["data"])
    assert said["display"] == "standalone"
    assert said["start_url"] == "./"
    for icon in said["icons"]:
        answer = page.request.get(server.url + icon["src"])
        assert answer.ok
        assert answer.headers["content-type"] == icon["type"]
    failed = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in failed if error["errorId"] != "in-incognito"] == []


def test_verdicts_are_those_of_python_word_for_word(page):
    generator = np.random.default_rng(0)
    cases = []
    for i in range(600):
        k = int(generator.integers(1, 9))
        raw = generator.dirichlet(np.full(k, 0.4)).astype(np.float32)
        if i % 5 == 0:  # ties, and numbers that lie between two roundings
            raw = (np.round(raw * 16) / 16).astype(np.float32)
        pick = lambda values: values[int(generator.integers(len(values)))]  # noqa: E731
        rule = Rule(
            pick([0.7, 0.8125, 0.5, float(generator.random())]),
            pick([None, 0.05, 0.02, 0.001, 1e-7, 0.3333333]),
            pick([None, 3.125, 0.0, float(generator.normal())]),
            pick([None, 0.99, 0.995, 0.9999, 0.9925]),
            pick([None, 0.12, 0.0625, 1.1]),
        )
        novelty = pick([None, 3.135, 3.125, 1e22, float(np.float32(generator.normal(0, 5)))])
        names = tuple(f"c{j}" for j in range(k))
        cases.append(Prediction(f"{i}.png", names, raw, novelty=novelty, rule=rule))
    asked = [
        [p.path, list(p.classes), p.probabilities.tolist(), p.novelty, vars(p.rule)] for p in cases
    ]
    found = page.evaluate(
        """async (asked) => {
          const { judge } = await import(new URL("verdict.js", location.href).href);
          return asked.map((one) => judge(...one));
        }""",
        asked,
    )
    for got, expected in zip(found, cases, strict=True):
        assert got == expected.to_json()
    assert {p.verdict for p in cases} == {"sure", "not_sure", "none_of_these"}
