//! The demo, as a visitor uses it: the printed link, the button, the keys.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode, header, redirect::Policy};
use serde_json::Value;
use tautan_test_support::{Binary, DEADLINE, within};

struct Demo {
    child: Child,
    keyboard: ChildStdin,
    screen: Receiver<String>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(Binary::Demo.path());
        let mut child =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the demo starts");
        let keyboard = child.stdin.take().expect("piped");
        let (sender, screen) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen }
    }

    fn press(&mut self, key: &str) {
        writeln!(self.keyboard, "{key}").expect("the demo reads its keyboard");
    }

    fn shows(&self, part: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.screen.recv_timeout(left).unwrap_or_else(|_| panic!("{part:?} is not shown"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

/// A browser's part of it: the cookie, and the origin of the page.
struct Visitor {
    http: Client,
    base: String,
    cookie: String,
}

impl Visitor {
    async fn sign_in(link: &str) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().expect("a client");
        let answer = http.get(link).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text");
        let cookie = cookie.split(';').next().expect("name and value").to_owned();
        let page = answer.headers()[header::LOCATION].to_str().expect("text");
        let origin = |link: &str| link.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        // Locally the link and the page are at one address, and the way there is a path.
        let base = origin(if page.starts_with('/') { link } else { page });
        Self { http, base, cookie }
    }

    async fn ask(&self, method: Method, path: &str) -> reqwest::Response {
        let ask = self.http.request(method, format!("{}/api/whatsapp/{path}", self.base));
        let ask = ask.header(header::COOKIE, &self.cookie).header(header::ORIGIN, &self.base);
        ask.header(header::ACCEPT, "application/json").send().await.expect("an answer")
    }

    async fn until_status(&self, wanted: &str) -> Value {
        within(wanted, async {
            loop {
                let status: Value = self.ask(Method::GET, "status").await.json().await.expect("a status");
                if status["status"] == wanted {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_links_loses_its_connection_and_unlinks() {
    let mut demo = Demo::start(&[]);
    let link = demo.shows("/local/sign-in?code=").trim().to_owned();
    let visitor = Visitor::sign_in(&link).await;
    demo.press("s");
    demo.shows("phone: there is no QR code to scan");
    assert_eq!(visitor.ask(Method::POST, "connect").await.status(), StatusCode::ACCEPTED);
    visitor.until_status("qr_pending").await;
    demo.press("s");
    demo.shows("phone: scanned");
    let status = visitor.until_status("connected").await;
    assert_eq!(status["phoneNumber"], "6281234567890");
    demo.press("l");
    visitor.until_status("connecting").await;
    demo.shows("network: WhatsApp can be reached again");
    visitor.until_status("connected").await;
    demo.press("u");
    let status = visitor.until_status("disconnected").await;
    assert_eq!(status["reason"], "unlinked-by-phone");
    demo.press("q");
    assert!(demo.child.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_of_several_instances_survives_a_kill_of_the_owner() {
    if !tautan_test_support::redis_is_installed() {
        return;
    }
    // Built beside it, as the demo itself would do.
    Binary::Sim.path();
    let mut demo = Demo::start(&["--instances", "3"]);
    let link = demo.shows("/sign-in").trim().to_owned();
    let visitor = Visitor::sign_in(&link).await;
    demo.press("k");
    demo.shows("fleet: no instance runs the session");
    assert_eq!(visitor.ask(Method::POST, "connect").await.status(), StatusCode::ACCEPTED);
    demo.shows("runs the session");
    visitor.until_status("qr_pending").await;
    demo.press("s");
    demo.shows("phone: scanned");
    let linked = visitor.until_status("connected").await;
    demo.press("k");
    demo.shows("was killed");
    demo.shows("taken over from instance");
    let status = visitor.until_status("connected").await;
    assert_eq!(status["phoneNumber"], linked["phoneNumber"]);
    demo.press("u");
    assert_eq!(visitor.until_status("disconnected").await["reason"], "unlinked-by-phone");
    demo.press("q");
    assert!(demo.child.wait().expect("it ends").success());
}
