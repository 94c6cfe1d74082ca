//! The picture in the stream, decoded by two independent libraries.

use std::process::Command;

use reqwest::Method;
use tautan_test_support::{read_data_url, read_png};

use crate::stage::{Stage, TENANT};

#[tokio::test(flavor = "multi_thread")]
async fn two_decoders_read_the_text_of_the_stream_in_its_picture() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    let qr = stream.until_qr().await;
    let text = qr.text("qrText");
    assert_eq!(read_data_url(qr.text("qrCode")), text);

    let answer = api.ask(Method::GET, "qr").header("accept", "image/png").send().await.expect("an answer");
    let png = answer.bytes().await.expect("a body");
    assert_eq!(read_png(&png), text);
    let file = stage.directory.path().join("code.png");
    std::fs::write(&file, &png).expect("a file");
    match Command::new("zbarimg").args(["--quiet", "--raw"]).arg(&file).output() {
        Ok(read) => assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), text),
        Err(error) => {
            println!("NOT RUN: zbarimg does not start: {error}");
            assert!(std::env::var_os("CI").is_none(), "a test was not run, and this is CI");
        }
    }
}
