//! What happens to the store that instances share, and to the instance that runs the session, seen from the page.

use tautan_test_support::{RedisServer, Settings, redis_is_installed, token};

use crate::{
    browser::PAGE,
    page_test::{NUMBER_SHOWN, PageTest, TENANT},
    screen,
};

/// 32 bytes, which all instances share.
const KEY: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=";

#[tokio::test(flavor = "multi_thread")]
async fn empty_redis_is_shown_and_one_press_starts_again() {
    if !redis_is_installed() {
        return;
    }
    let mut redis = RedisServer::start();
    let environment = [("REDIS_URL", &*redis.url()), ("TAUTAN_ENCRYPTION_KEY", KEY)];
    let Some(stage) = PageTest::set(&environment, "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.sign_in().await;
    card.state("disconnected").await;
    let device = stage.link().await;
    card.state("connected").await;
    screen::narrow(browser).await;

    redis.restart_empty();
    let shown = card.reason("store-lost").await;
    assert!(shown.offers("connect"), "{shown:#?}");
    screen::keep(browser, "28-store-lost").await;
    stage.link_anew(device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_a_dead_instance_is_moving_until_acquired() {
    if !redis_is_installed() {
        return;
    }
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().expect("a directory");
    let stubs = folder.path().to_str().expect("a name in UTF-8");
    let environment = [
        ("REDIS_URL", &*redis.url()),
        ("TAUTAN_ENCRYPTION_KEY", KEY),
        ("TAUTAN_MAX_SESSIONS", "1"),
        ("SIM_STUBS", stubs),
    ];
    let Some(mut stage) = PageTest::set(&environment, "id-ID").await else { return };
    stage.link().await;
    let mut settings = Settings::new(folder.path(), &stage.simulator.url());
    for (name, value) in environment {
        settings = settings.with(name, value);
    }
    let survivor = settings.start();
    // Another tenant's session takes the survivor's only slot.
    let other = survivor.api("idle-1");
    let mut others = other.events().await;
    other.connect().await;
    others.until_status("connected").await;

    let (browser, card) = (&stage.browser, stage.browser.card());
    browser.set_token(survivor.base(), &token(TENANT)).await;
    browser.goto(&format!("{}{PAGE}", survivor.base())).await;
    card.state("connected").await;
    screen::narrow(browser).await;
    stage.program.kill();
    let shown = card.until("the move", |shown| shown.reason == "moving" && shown.stale).await;
    assert_eq!((&*shown.state, &*shown.status, &*shown.phone), ("connecting", "Memeriksa…", NUMBER_SHOWN));
    screen::keep(browser, "29-moving").await;

    other.disconnect().await;
    let shown = card.state("connected").await;
    assert_eq!(shown.title, "WhatsApp Terhubung", "without a scan");
    assert_eq!(stage.phone.devices().len(), 1);
}
