use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::clock::Timestamp;

const FIRST: Duration = Duration::from_secs(1);
/// Also the longest delay of the newest status for a receiver that is back after hours, whatever its `Retry-After`
/// says.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait after delivery number `tries`, counted from 0, has failed: twice as long each time. `random`, from
/// 0 to 1, shortens it by up to half, so that deliveries that failed together are not retried together. If the receiver
/// `asked` for longer, the wait is that long, and up to a quarter longer for the same reason.
pub fn wait(tries: u32, asked: Option<Duration>, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(LONGEST);
    let asked = asked.unwrap_or_default().min(LONGEST);
    doubled.mul_f64(1.0 - random / 2.0).max(asked.mul_f64(1.0 + random / 4.0))
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). `None`: it is neither.
pub fn asked(retry_after: &str, now: Timestamp) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_stay_there() {
        let waits: Vec<u64> = (0..11).map(|tries| wait(tries, None, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for tries in [31, 32, 64, u32::MAX] {
            assert_eq!(wait(tries, None, 0.0), LONGEST, "{tries}");
        }
    }

    #[test]
    fn jitter_shortens_a_wait_by_half_at_most() {
        assert_eq!(wait(2, None, 1.0), Duration::from_secs(2));
        assert_eq!(wait(2, None, 0.5), Duration::from_secs(3));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_five_minutes() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        for random in [0.0, 0.3, 1.0] {
            assert!(wait(0, asked(60), random) >= Duration::from_secs(60));
            assert_eq!(wait(5, asked(1), random), wait(5, None, random), "no sooner than without asking");
            assert!(wait(0, asked(u64::MAX), random) <= LONGEST.mul_f64(1.25), "nor for ever");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (text, seconds) in [("120", 120), (" 0 ", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 37)] {
            assert_eq!(asked(text, now), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(asked("Sun, 06 Nov 1994 08:48:00 GMT", now), Some(Duration::ZERO), "it is over");
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(asked(nonsense, now), None, "{nonsense}");
        }
    }
}
