use super::*;

fn beat(number: u64, owned: usize, max: Option<usize>) -> Option<Beat> {
    Some(Beat { number, owned, max, run: Tag(0xfedc) })
}

fn tenant(number: usize) -> TenantId {
    TenantId::parse(&format!("toko-{number}")).unwrap()
}

fn registered(number: u64, past_was_listed: bool, was_vacant: bool) -> Registered {
    Registered { number, past_was_listed, was_vacant }
}

#[test]
fn linked_tenant_waits_for_a_durable_registration() {
    let (membership, start) = (Membership::new(None), Instant::now());
    assert!(!membership.may_acquire_linked(9, start), "not registered");
    membership.registered(&registered(3, false, false), start);
    assert!(!membership.may_acquire_linked(2, start), "released before the registration");
    assert!(membership.may_acquire_linked(3, start), "released after it");
    let later = start + DURABLE_AFTER;
    assert!(membership.may_acquire_linked(0, later) && membership.is_durable(later));
    membership.registered(&registered(5, true, false), later);
    assert!(membership.is_durable(later), "the first registration counts while Redis lists it");
    membership.registered(&registered(7, false, false), later);
    assert!(!membership.may_acquire_linked(5, later), "Redis did not list the one before");
    membership.registered(&registered(8, false, true), later);
    assert!(membership.is_durable(later), "Redis listed no other instance");
}

#[test]
fn names_of_incarnations_tell_the_process() {
    let membership = Membership::new(None);
    let names = [membership.next_name(), membership.next_name()];
    assert!(names[0] != names[1]);
    assert_eq!(names.each_ref().map(|name| instance_of(name)), [membership.instance(); 2]);
}

#[test]
fn beat_is_read_as_it_was_written() {
    for beat in [beat(7, 3, None), beat(0, 10_000, Some(10_000))].into_iter().flatten() {
        assert_eq!(Beat::parse(&beat.text()), Some(beat));
    }
    assert_eq!(Beat::parse("1"), None, "what another version wrote");
}

#[test]
fn beating_member_of_another_version_is_not_silent() {
    let (membership, start) = (Membership::new(None), Instant::now());
    for second in 0..=SILENT_AFTER.as_secs() {
        let now = start + Duration::from_secs(second);
        membership.see("newer", Some(Beat::of(&format!("v2 {second}"))), now);
        membership.see("stuck", Some(Beat::of("v2 0")), now);
        membership.looked(now);
    }
    let now = start + SILENT_AFTER;
    assert!(!membership.is_silent("newer", now) && membership.is_silent("stuck", now));
    assert!(!membership.has_room(now), "no tenant is left to it");
}

#[test]
fn no_member_is_silent_after_a_suspend_before_a_look() {
    let (membership, start) = (Membership::new(None), Instant::now());
    membership.see("a", beat(1, 0, None), start);
    membership.looked(start);
    let woken = start + SILENT_AFTER * 2;
    assert!(!membership.is_silent("a", woken) && membership.silent(woken).is_empty());
    // The answer to a look from before the suspend.
    membership.see("a", beat(1, 0, None), woken);
    membership.looked(start);
    assert!(!membership.is_silent("a", woken));
    membership.see("a", beat(1, 0, None), woken);
    membership.looked(woken);
    assert!(membership.is_silent("a", woken) && membership.silent(woken) == ["a"]);
}

#[test]
fn silence_counts_from_the_last_new_beat_or_failed_look() {
    let (membership, start) = (Membership::new(None), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    membership.see("a", beat(1, 0, None), at(0));
    membership.see("a", beat(2, 0, None), at(1));
    membership.see("a", beat(2, 0, None), at(3));
    membership.looked(at(3) + LOOK_HOLDS / 2);
    assert!(!membership.is_silent("a", at(3)) && membership.is_suspicious(at(3)));
    assert!(membership.is_silent("a", at(4)));
    assert_eq!(membership.silent(at(4)), ["a"]);
    membership.restart_silence(at(4));
    membership.looked(at(6));
    assert!(!membership.is_silent("a", at(6)));
    assert!(membership.see("a", None, at(6)), "it is gone");
    assert!(!membership.see("a", None, at(7)), "that is known already");
    membership.looked(at(60));
    assert!(!membership.is_silent("a", at(60)), "an expired one is not silent");
}

#[test]
fn member_without_subscription_and_beat_is_silent_soon() {
    let (membership, start) = (Membership::new(None), Instant::now());
    let look = |number: u64, unsubscribed: &[(&str, Duration)], now: Instant| {
        membership.see("killed", beat(1, 0, None), now);
        membership.see("cut", beat(number, 100, None), now);
        membership.see("there", beat(1, 200, None), now);
        membership.see_unsubscribed(&unsubscribed.iter().map(|(name, age)| ((*name).to_owned(), *age)).collect(), now);
        membership.looked(now);
        membership.silent(now)
    };
    let (second, late) = (Duration::from_secs(1), start + UNSUBSCRIBED_FOR);
    assert!(look(1, &[], start).is_empty() && !membership.is_suspicious(start));
    assert!(look(2, &[("killed", second), ("cut", second)], start).is_empty() && membership.is_suspicious(start));
    assert!(look(2, &[("killed", second), ("cut", second)], late).is_empty(), "the next beat may be under way");
    assert_eq!(
        look(3, &[("killed", BEAT_LATE_AFTER), ("cut", Duration::ZERO)], late),
        ["killed"],
        "an instance that beats is alive"
    );
    assert_eq!(
        membership.acquire_delay_of(&tenant(1), "cut", late),
        Duration::ZERO,
        "nothing is left to the killed one"
    );
    assert!(look(4, &[], late).is_empty() && !membership.is_suspicious(late), "it is subscribed again");
    look(5, &[("killed", BEAT_LATE_AFTER)], late);
    membership.restart_silence(late + UNSUBSCRIBED_FOR);
    assert!(
        look(6, &[("killed", BEAT_LATE_AFTER)], late + UNSUBSCRIBED_FOR).is_empty(),
        "Redis may have cut all subscriptions"
    );
}

#[test]
fn expired_member_is_acquirable_when_its_owner_has_hung_up() {
    let (membership, start) = (Membership::new(None), Instant::now());
    membership.see("a", beat(1, 1, None), start);
    membership.looked(start);
    let soon = start + Duration::from_secs(1);
    assert!(membership.see("a", None, soon), "redis's clock was set forward");
    membership.looked(soon);
    assert!(!membership.is_acquirable("a", soon) && membership.is_acquirable("unknown", soon));
    let late = start + ACQUIRABLE_AFTER;
    assert!(!membership.is_acquirable("a", late), "no look for long");
    membership.looked(late);
    assert!(membership.is_acquirable("a", late));
    assert!(membership.see("a", None, late), "its tenants can be acquired");
    assert!(!membership.see("a", None, late));
    membership.see("p-0", beat(1, 1, None), start);
    assert!(!membership.is_acquirable("p-0", soon));
    membership.see("p-1", beat(1, 1, None), soon);
    assert!(membership.is_acquirable("p-0", soon), "the next incarnation of its process lives");
    assert!(
        membership.is_acquirable(&membership.next_name(), soon),
        "an earlier incarnation of this process has hung up"
    );
}

#[test]
fn times_of_a_death_are_in_order() {
    use super::heartbeat::{DEADLINE, TTL};
    const HANG_UP: Duration = Duration::from_millis(500);
    assert!(DEADLINE + LOOK_HOLDS + HANG_UP <= ACQUIRABLE_AFTER, "two owners");
    assert!(ACQUIRABLE_AFTER + super::liveness::LOOK_EVERY <= TTL, "a death would be found later");
    assert!(DEADLINE + HANG_UP < TTL, "two owners");
    assert!(UNSUBSCRIBED_FOR < BEAT_LATE_AFTER && BEAT_LATE_AFTER < SILENT_AFTER);
    assert!(SILENT_AFTER < DEADLINE && SUSPECT_AFTER < SILENT_AFTER && LIVELY_FOR < SILENT_AFTER);
    assert!(DURABLE_AFTER < DEADLINE, "a process that starts anew finds its own incarnation expired later than that");
}

#[test]
fn least_loaded_come_first_and_equals_share() {
    let (membership, now) = (Membership::new(None), Instant::now());
    membership.see("busy", beat(1, 100, None), now);
    membership.see("one", beat(1, 3, None), now);
    membership.see("two", beat(1, 9, None), now);
    membership.see("full", beat(1, 0, Some(0)), now);
    let mut taken = [0; 2];
    for number in 0..200 {
        let waits = ["one", "two", "busy"].map(|here| membership.acquire_delay_of(&tenant(number), here, now));
        taken[0] += usize::from(waits[0].is_zero());
        taken[1] += usize::from(waits[1].is_zero());
        assert!(waits[0].is_zero() != waits[1].is_zero(), "one of them comes first");
        assert_eq!(waits[2], TURN * 2);
    }
    assert!(taken.iter().all(|taken| *taken > 60), "{taken:?}");
}

#[test]
fn no_tenant_is_left_to_a_leaving_member() {
    let (membership, now) = (Membership::new(None), Instant::now());
    membership.see("leaving", beat(1, 1, None), now);
    membership.see("here", beat(1, 100, None), now);
    assert_eq!(membership.acquire_delay_of(&tenant(1), "here", now), TURN);
    membership.leaves("leaving");
    assert_eq!(membership.acquire_delay_of(&tenant(1), "here", now), Duration::ZERO);
}

#[test]
fn no_tenant_is_left_to_a_silent_member() {
    let (membership, start) = (Membership::new(None), Instant::now());
    membership.see("idle", beat(1, 0, None), start);
    membership.see("busy", beat(1, 100, Some(100)), start);
    let later = start + LIVELY_FOR;
    membership.see("busy", beat(2, 100, Some(100)), later);
    assert_eq!(membership.acquire_delay_of(&tenant(1), "busy", start), TURN);
    assert_eq!(membership.acquire_delay_of(&tenant(1), "busy", later), Duration::ZERO);
    assert!(membership.has_room(start) && !membership.has_room(later));
}
