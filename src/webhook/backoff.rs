use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
/// Also how late the last word may come to a receiver that is back after hours.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait after a notice was not delivered for the `tries`th time, counted from 0: twice as long each time.
/// `random`, from 0 to 1, takes up to half of it away, so that what failed together does not come back together.
pub fn wait(tries: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(LONGEST);
    doubled.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_stay_there() {
        let waits: Vec<u64> = (0..11).map(|tries| wait(tries, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for tries in [31, 32, 64, u32::MAX] {
            assert_eq!(wait(tries, 0.0), LONGEST, "{tries}");
        }
    }

    #[test]
    fn chance_takes_half_of_a_wait_at_most() {
        assert_eq!(wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(wait(2, 0.5), Duration::from_secs(3));
    }
}
