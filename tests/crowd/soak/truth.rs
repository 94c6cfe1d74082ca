//! Compares each tenant's status with the simulator's list of devices.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tautan_test_support::within;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Scene, Tenant,
    users::{asks, links_once, next, opens},
};

/// Redials come at growing intervals, a login that WhatsApp refused is tried again after 5, 10, 20 s, and a pairing that
/// hangs is given up after a minute and a half.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
const LINKS_WITHIN: Duration = Duration::from_secs(120);

/// Logged-in sockets of all devices that the phone lists.
fn live(scene: &Scene, tenant: &Tenant) -> usize {
    tenant.phone.devices().into_iter().map(|device| scene.simulator.live_sockets(device)).sum()
}

/// `Err`: what is wrong. A code may be shown as long as a stream is open.
fn agrees(status: &Value, live: usize) -> Result<(), String> {
    let is_true = match status["status"].as_str() {
        Some("connected") => live == 1,
        Some("disconnected" | "qr_pending") => live == 0,
        Some("connecting") => live == 0 && status["reason"] == "starting",
        _ => false,
    };
    let sure = status["stale"] == false;
    if is_true && sure { Ok(()) } else { Err(format!("{live} live sockets, and {status}")) }
}

/// A link may have been silent since before the end of the storm: then it is given up and dialled again.
async fn answers(scene: &Scene, tenant: &Tenant) -> bool {
    for device in tenant.phone.devices() {
        if scene.simulator.live_sockets(device) > 0 && !scene.simulator.ping(device, Duration::from_secs(3)).await {
            return false;
        }
    }
    true
}

/// Waits until every tenant's status is true and stays so. Returns how long that took.
pub async fn fulfils(scene: &Scene, tenants: &[Tenant]) -> Duration {
    let begun = Instant::now();
    loop {
        let statuses = join_all(tenants.iter().map(|tenant| asks(scene, tenant, "status"))).await;
        let answering = join_all(tenants.iter().map(|tenant| answers(scene, tenant))).await;
        let checked = tenants.iter().zip(&statuses).zip(answering).map(|((tenant, answer), answers)| match answer {
            Some(_) if !answers => Err(format!("{}: its link is silent", tenant.name)),
            Some((_, status)) => {
                agrees(status, live(scene, tenant)).map_err(|wrong| format!("{}: {wrong}", tenant.name))
            }
            None => Err(format!("{} is not answered", tenant.name)),
        });
        let wrong: Vec<String> = checked.filter_map(Result::err).collect();
        if wrong.is_empty() {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < SETTLES_WITHIN, "{wrong:#?}");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Every tenant is linked, some from wherever they stood.
pub async fn all_link(scene: &Scene, tenants: &[Tenant]) -> Duration {
    let begun = Instant::now();
    join_all(tenants.iter().map(|tenant| async {
        while !links_once(scene, tenant).await {
            assert!(
                begun.elapsed() < LINKS_WITHIN,
                "{} cannot link: {:?}",
                tenant.name,
                asks(scene, tenant, "status").await
            );
            sleep(Duration::from_millis(300)).await;
        }
    }))
    .await;
    begun.elapsed()
}

/// `/status` and a new stream say the same, and a text reaches the device.
pub async fn is_shown_to_all(scene: &Scene, tenants: &[Tenant]) {
    join_all(tenants.iter().map(|tenant| async {
        let (_, status) = asks(scene, tenant, "status").await.expect("an answer");
        assert_eq!((&status["status"], live(scene, tenant)), (&"connected".into(), 1), "{}", tenant.name);
        assert_eq!(status["phoneNumber"], tenant.phone.number());
        let mut stream = opens(scene, tenant).await.expect("a stream");
        let event = next(scene, tenant, &mut stream).await.expect("the present");
        assert_eq!(event.data, status, "{}", tenant.name);
        let devices = tenant.phone.devices();
        let device = devices.into_iter().find(|device| scene.simulator.live_sockets(*device) == 1).expect("it lives");
        let sent = timeout(Duration::from_secs(20), tenant.phone.send_text(device, "Apakah masih ada?")).await;
        assert_eq!(sent, Ok(Ok(())), "{}", tenant.name);
        assert!(within("a pong", scene.simulator.ping(device, Duration::from_secs(10))).await, "{}", tenant.name);
    }))
    .await;
}
