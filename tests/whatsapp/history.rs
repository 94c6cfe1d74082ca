use crate::bench::{Bench, DEADLINE};

/// A linked phone offers thousands of chats, which the service does not need.
#[tokio::test(flavor = "multi_thread")]
async fn chat_history_is_not_fetched() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    bench.phone.offer_history(paired.device).await.unwrap();
    let answered = bench.sim.wait_until(DEADLINE, |sim| sim.histories_answered(paired.device) > 0);
    answered.await.expect("the phone is not left to offer them again");
    // A client that fetches the history requests the media host at once.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(bench.sim.media_asked(paired.device), 0);
    paired.link.close().await;
}
