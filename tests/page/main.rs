//! The door's page in a real Chromium: what somebody sees who looks at it, and whether it can be used without a mouse.
//!
//! A test target of its own, since it needs Debian's chromium: `cargo test -p acceptance --test page`. Its pictures are in
//! `target/tmp/page`.
// Everything here is a test or part of one: what was not foreseen ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod browser;

use browser::{Browser, Screen};
use harness::agent::Shape;
use harness::door::Door;
use harness::fleet::{Fleet, Site};
use harness::master::Health;
use serde_json::json;

const PHONE: Screen = Screen { width: 360, height: 740, dark: false };
const TABLET: Screen = Screen { width: 820, height: 1180, dark: true };
const DESK: Screen = Screen { width: 1440, height: 900, dark: false };
const SCREENS: [(&str, Screen); 3] = [("phone", PHONE), ("tablet", TABLET), ("desk", DESK)];

async fn looked_at(masters: usize) -> (Fleet, Browser) {
    let fleet = Site::with_masters(masters).open().await;
    for n in 0..6 {
        fleet.agent(&format!("web{n}.example.com")).run(Shape::default()).await.unwrap();
    }
    let mut browser = Browser::start();
    browser.show(DESK);
    browser.open(&page(&fleet.door));
    browser.until(
        "the masters are shown",
        &format!("document.querySelectorAll('#masters tbody tr').length === {masters}"),
    );
    (fleet, browser)
}

fn page(door: &Door) -> String {
    format!("http://{}/", door.papers().admin_http)
}

fn row(name: &str) -> String {
    format!(
        "([...document.querySelectorAll('#masters tbody tr')].find(tr => tr.innerText.includes('{name}'))?.innerText ?? '')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_fits_on_a_phone_a_tablet_and_a_desk_in_light_and_dark() {
    let (fleet, mut browser) = looked_at(3).await;
    fleet.door.drain("m2.example.com").await;
    fleet.masters[2].health(Health::Failing);
    browser.until("one master drains", &format!("{}.includes('draining')", row("m2.example.com")));
    browser.until("one master is unfit", &format!("{}.includes('unfit')", row("m3.example.com")));
    for (name, screen) in SCREENS {
        for dark in [screen.dark, !screen.dark] {
            browser.show(Screen { dark, ..screen });
            let wide = "document.documentElement.scrollWidth <= window.innerWidth";
            browser.until(&format!("nothing is wider than a {name}"), wide);
            browser.until(
                "the plot is as wide as its place",
                "document.querySelector('.uplot').offsetWidth <= document.querySelector('#plot').clientWidth",
            );
            let shown = browser.eval("document.querySelector('main').innerText");
            for words in [
                "m1.example.com",
                "stagedoor roster drain m1.example.com",
                "stagedoor roster retire m2.example.com",
                "Compile latency",
                "6 catalogs compiled, none failed",
                "is out",
                "m2.example.com draining, was admitted",
                "puppet ca certificate",
            ] {
                assert!(shown.as_str().unwrap().contains(words), "{name}: {words:?} is not in\n{shown}");
            }
            // As large as a finger where one is used.
            if screen.width < 500 {
                let least = browser.eval(
                    "Math.min(...[...document.querySelectorAll('#masters button')].map(b => b.offsetHeight))",
                );
                assert!(least.as_u64().unwrap() >= 44, "{least} px");
            }
            let contrast = browser.eval(CONTRAST);
            assert!(contrast.as_f64().unwrap() >= 4.5, "{name}, dark {dark}: contrast {contrast}");
            browser.picture(&format!("{name}-{}", if dark { "dark" } else { "light" }));
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The least contrast of any words with what is behind them, as WCAG counts it.
const CONTRAST: &str = r"(() => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = parts(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    let least = 21;
    for (const element of document.querySelectorAll('h1, h2, dt, dd, th, td, td span, small, li, p, button, code, figcaption, a, #trouble')) {
        if (!element.innerText || !element.offsetParent || element.closest('.skip')) continue;
        const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
        least = Math.min(least, (a + 0.05) / (b + 0.05));
    }
    return least;
})()";

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_shows_without_a_reload_and_leaves_the_keyboards_place_alone() {
    let (fleet, mut browser) = looked_at(2).await;
    browser.eval("window.same = true; document.querySelector('#masters button').focus(); document.activeElement.id = 'mine'");
    fleet.door.drain("m2.example.com").await;
    browser.until(
        "a drained master is shown as such",
        &format!("{}.includes('draining')", row("m2.example.com")),
    );
    fleet.door.change("retire", &json!({ "certname": "m2.example.com" })).await;
    browser.until("a retired master is gone", "document.querySelectorAll('#masters tbody tr').length === 1");
    browser.until(
        "and the roster's history says so",
        "document.querySelector('#roster').innerText.includes('m2.example.com retired')",
    );
    for n in 0..3 {
        fleet.agent(&format!("db{n}.example.com")).run(Shape::default()).await.unwrap();
    }
    browser.until(
        "new catalogs are counted",
        "document.querySelector('#plot-words').innerText.startsWith('9 catalogs compiled')",
    );
    assert_eq!(browser.eval("window.same === true && document.activeElement.id === 'mine'"), true);
    let told = json!({
        "certname": "m9.example.com", "procedure": "enroll",
        "steps": [{ "name": "preflight", "state": "done" }, { "name": "install", "state": "failed", "why": "<b>no</b> <script>evil()</script>" }],
    });
    let answer = fleet.door.admin("POST", "/v1/enrollments", &told.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    browser.until("an enrollment is shown, its words as words", "document.querySelector('#enrollments').innerText.includes('install: failed (<b>no</b> <script>evil()</script>)')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_roster_and_a_door_that_is_gone_are_said_and_got_over() {
    let mut fleet = Site::with_masters(0).open_unready().await;
    let mut browser = Browser::start();
    browser.show(DESK);
    browser.open(&page(&fleet.door));
    browser.until(
        "there is no master",
        "!document.querySelector('#masters-empty').hidden && document.querySelector('#masters').hidden",
    );
    browser.until(
        "and what to do is said",
        "document.querySelector('#masters-empty').innerText.includes('stagedoor roster admit CERTNAME')",
    );
    browser.until(
        "agents are not to be sent here",
        "document.querySelector('#ready').innerText === 'no' && !document.querySelector('#trouble').hidden",
    );
    browser.picture("empty");
    let papers = fleet.door.papers().clone();
    fleet.door.signal(rustix::process::Signal::KILL);
    fleet.door.ended().await;
    browser.until(
        "that the door is gone is said",
        "document.querySelector('#trouble').innerText.includes('does not answer')",
    );
    assert_eq!(
        browser.eval("document.body.classList.contains('old') && document.title.startsWith('(1)')"),
        true
    );
    browser.picture("gone");
    fleet.door = Door::start_unready(papers).await;
    browser.until("the page goes on with the new door", "!document.body.classList.contains('old') && !document.querySelector('#trouble').innerText.includes('does not answer')");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_used_by_keyboard_and_read_aloud() {
    let (_fleet, mut browser) = looked_at(2).await;
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    browser.until("every button says what it copies", "[...document.querySelectorAll('button')].every(b => b.getAttribute('aria-label')?.startsWith('Copy stagedoor roster '))");
    for _ in 0..40 {
        browser.press("Tab");
        if browser.eval("document.activeElement.tagName") == "BUTTON" {
            break;
        }
    }
    assert_eq!(browser.eval("document.activeElement.tagName"), "BUTTON", "Tab comes to a button");
    browser.press("Enter");
    browser.until(
        "what was copied, or is to be typed, is read aloud",
        "document.querySelector('#copied').innerText.includes('stagedoor roster drain m1.example.com')",
    );
    let named = "document.documentElement.lang === 'en' && document.querySelectorAll('h1').length === 1
        && document.querySelectorAll('main').length === 1
        && [...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby'))?.innerText)
        && [...document.querySelectorAll('#masters thead th')].every(th => th.scope === 'col')
        && [...document.querySelectorAll('#masters tbody th')].every(th => th.scope === 'row')
        && document.querySelector('#copied').getAttribute('aria-live') === 'polite'
        && document.querySelector('#plot-words').innerText.includes('catalogs compiled')";
    assert_eq!(browser.eval(named), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_doors_own_script_runs_and_nothing_is_asked_of_anybody_else() {
    let (_fleet, mut browser) = looked_at(1).await;
    let policy = browser.eval("fetch('/').then(answer => answer.headers.get('content-security-policy'))");
    let policy = policy.as_str().unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.contains(rule) && !policy.contains("unsafe"), "{policy}");
    }
    let asked = browser.eval("performance.getEntriesByType('resource').map(e => new URL(e.name).host).filter(h => h !== location.host).join()");
    assert_eq!(asked, "");
    let tried = browser.eval(
        "new Promise(done => {
            const seen = [];
            addEventListener('securitypolicyviolation', e => { seen.push(e.effectiveDirective); if (seen.length === 3) done(seen.sort().join()); });
            const script = document.createElement('script'); script.textContent = 'window.evil = 1'; document.body.append(script);
            const image = new Image(); image.src = 'http://192.0.2.1/x.png';
            fetch('http://192.0.2.1/').catch(() => 0);
        })",
    );
    assert_eq!(tried, "connect-src,img-src,script-src-elem");
    assert_eq!(browser.eval("window.evil === undefined"), true);
}
