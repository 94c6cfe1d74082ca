//! No log line contains a secret or data of a customer, even with every log switched on.

use reqwest::Method;
use tautan_test_support::{Program, SECRET, token};

use crate::stage::{NAME, NUMBER, Stage, TENANT};

const MESSAGE: &str = "Apakah sambal terasi masih ada?";

fn start(stage: &Stage) -> Program {
    stage.settings().with("RUST_LOG", "trace").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_holds_a_secret_even_with_every_log_switched_on() {
    let stage = Stage::new().await;
    let mut program = start(&stage);
    let cookie = token(TENANT);
    let api = program.api(TENANT);
    let mut secrets: Vec<(&str, String)> = vec![
        ("the JWT secret", SECRET.into()),
        ("the cookie", cookie.clone()),
        ("the number", NUMBER.into()),
        ("the push name", NAME.into()),
        ("a message", MESSAGE.into()),
    ];
    let bearer = api.ask(Method::GET, "status").build().expect("a request");
    let bearer = bearer.headers()["authorization"].to_str().expect("ASCII").replace("Bearer ", "");
    secrets.push(("the token", bearer));

    let mut stream = api.events().await;
    api.connect_by_code(NUMBER).await;
    let qr = stream.until_qr().await;
    let with_cookie = reqwest::Client::new().get(format!("{}/api/whatsapp/qr", program.base()));
    let with_cookie = with_cookie.header("cookie", format!("fibidy_auth={cookie}")).send().await;
    assert!(with_cookie.expect("an answer").status().is_success());
    let image = qr.text("qrCode").split_once(',').expect("a data URL").1;
    secrets.push(("a QR image", image[image.len() / 2..][..40].to_owned()));
    secrets.push(("a QR text", qr.text("qrText").to_owned()));
    let parts = qr.text("qrText").split(',').filter(|part| part.len() > 10);
    secrets.extend(parts.map(|part| ("a part of a QR text", part.to_owned())));
    let pair = stream.until_pair_code().await;
    secrets.push(("a pair code", pair.text("code").to_owned()));
    secrets.push(("a pair code", pair.text("code").replace('-', "")));
    stage.phone.enter_code(pair.text("code")).await.expect("a living code");
    stream.until_status("connected").await;
    stage.phone.send_text(stage.device(), MESSAGE).await.expect("the device reads it");
    let key = std::fs::read_to_string(stage.directory.path().join("encryption.key")).expect("it was made");
    secrets.push(("the encryption key", key.trim().to_owned()));
    program.terminate();
    let (code, mut output) = program.ended();
    assert_eq!(code, Some(0));

    let mut program = start(&stage);
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stream.until_status("connected").await;
    stage.phone.send_text(stage.device(), MESSAGE).await.expect("the device reads it");
    api.disconnect().await;
    stream.until_status("disconnected").await;
    program.terminate();
    output.push_str(&program.ended().1);

    for line in ["session started", "qr code emitted to tenant", "whatsapp connected", "session ended"] {
        assert!(output.contains(line), "the log was on: {line}");
    }
    for (what, secret) in &secrets {
        assert!(secret.len() >= 8, "{what} can be looked for");
        // Not the line itself: it holds what must not be printed.
        let lines = output.lines().filter(|line| line.contains(secret)).count();
        assert_eq!(lines, 0, "{what} stands in {lines} of {} lines", output.lines().count());
    }
}
