//! The limiter alone, and against simulated servers whose quota it is not told.

use std::collections::VecDeque;
use std::time::Duration;

use super::Limiter;

const SEC: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_minute_lets_its_number_through_and_a_sixth_at_once() {
    let mut limiter = Limiter::new(60);
    assert_eq!((0..100).filter(|_| limiter.take(Duration::ZERO)).count(), 10);
    let later = (1..=60).map(|it| SEC * it);
    assert_eq!(later.filter(|it| limiter.take(*it)).count(), 60);
}

#[test]
fn a_refusal_closes_for_longer_each_time_and_an_accepted_call_forgets_that() {
    let mut limiter = Limiter::new(60);
    limiter.refused(SEC, None);
    assert!(!limiter.take(TENTH * 19), "closed for one second");
    assert!(limiter.take(SEC * 2));
    limiter.refused(SEC * 2, None);
    limiter.refused(SEC * 3, None);
    assert!(!limiter.take(TENTH * 39), "the second closes for two, the third came along");
    assert!(limiter.take(SEC * 4));
    limiter.accepted(SEC * 4);
    limiter.refused(SEC * 30, None);
    assert!(limiter.take(SEC * 31), "closed for one second again");
}

#[test]
fn a_pause_that_is_asked_for_is_kept() {
    let mut limiter = Limiter::new(60);
    limiter.refused(SEC, Some(SEC * 30));
    limiter.refused(SEC, Some(SEC * 40));
    assert!(!limiter.take(TENTH * 409));
    assert!(limiter.take(SEC * 41));
    limiter.refused(SEC * 41, Some(Duration::from_hours(9)));
    assert!(limiter.take(SEC * 641), "within reason");
}

#[test]
fn no_pause_is_longer_than_the_window_of_what_was_accepted() {
    let mut limiter = Limiter::new(60);
    limiter.accepted(Duration::ZERO);
    for at in [50, 51, 53] {
        limiter.refused(SEC * at, None);
    }
    assert!(limiter.take(MINUTE), "the first call counts no more");
}

#[test]
fn a_line_that_wants_no_more_than_it_has_learns_nothing() {
    let mut limiter = Limiter::new(60);
    for it in 1..=600 {
        assert!(limiter.take(SEC * it));
        limiter.accepted(SEC * it);
    }
    assert_eq!((0..100).filter(|_| limiter.take(SEC * 620)).count(), 10);
}

/// How a simulated Vertex AI counts.
#[derive(Clone, Copy)]
enum Window {
    /// Anew every so often; the first one began so long ago.
    Fixed(Duration, Duration),
    /// What it accepted within the time before.
    Sliding(Duration),
    /// A bucket that takes so long to be refilled, evenly.
    Bucket(Duration),
}

/// A simulated Vertex AI, which lets so many calls a minute through.
struct Server {
    window: Window,
    quota: u32,
    /// Whether it says when to come back.
    polite: bool,
    /// When the calls that still count were accepted.
    counted: VecDeque<Duration>,
    full_at: Duration,
    accepted: u32,
    refused: u32,
}

impl Server {
    /// When there is room for one more call.
    fn free_at(&mut self, now: Duration) -> Duration {
        let (length, free_at) = match self.window {
            Window::Fixed(length, age) => {
                let into = (now + age).as_nanos() % length.as_nanos();
                let began = now.saturating_sub(Duration::from_nanos_u128(into));
                self.forget(began);
                (length, began + length)
            }
            Window::Sliding(length) => {
                self.forget((now + Duration::from_nanos(1)).saturating_sub(length));
                (length, self.counted.front().map_or(now, |it| *it + length))
            }
            Window::Bucket(size) => {
                return (self.full_at.max(now) + MINUTE / self.quota).saturating_sub(size).max(now);
            }
        };
        let quota = u128::from(self.quota) * length.as_nanos() / MINUTE.as_nanos();
        if (self.counted.len() as u128) < quota { now } else { free_at }
    }

    fn forget(&mut self, before: Duration) {
        while self.counted.front().is_some_and(|it| *it < before) {
            self.counted.pop_front();
        }
    }

    fn ask(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        let free_at = self.free_at(now);
        if free_at > now {
            self.refused += 1;
            // In whole seconds, as Retry-After is.
            let wait = free_at.saturating_sub(now) + Duration::from_nanos(999_999_999);
            return Err(self.polite.then(|| Duration::from_secs(wait.as_secs())));
        }
        self.accepted += 1;
        self.full_at = self.full_at.max(now) + MINUTE / self.quota;
        if !matches!(self.window, Window::Bucket(_)) {
            self.counted.push_back(now);
        }
        Ok(())
    }
}

/// A line that never ends, in rounds: grants, calls sixteen at a time, answers, a pause.
/// Tells which part of the quota was used, and which was asked for in vain once it was learned.
fn shares(window: Window, (quota, guess): (u32, u32), polite: bool, round: Duration) -> (f64, f64) {
    let (counted, full_at) = (VecDeque::new(), Duration::ZERO);
    let mut server = Server { window, quota, polite, counted, full_at, accepted: 0, refused: 0 };
    let mut limiter = Limiter::new(guess);
    let (mut now, mut learned) = (Duration::ZERO, None);
    while now < MINUTE * 10 {
        if now >= MINUTE * 2 {
            learned.get_or_insert(server.refused);
        }
        let mut granted = (0..1_000).take_while(|_| limiter.take(now)).count();
        while granted > 0 && !limiter.is_closed(now) {
            let answers: Vec<_> = (0..granted.min(16)).map(|_| server.ask(now)).collect();
            granted -= answers.len();
            now += SEC / 20;
            for answer in answers {
                match answer {
                    Ok(()) => limiter.accepted(now),
                    Err(retry_after) => limiter.refused(now, retry_after),
                }
            }
        }
        now += round;
    }
    let quota = f64::from(quota);
    let in_vain = f64::from(server.refused - learned.unwrap());
    (f64::from(server.accepted) / (quota * now.div_duration_f64(MINUTE)), in_vain / (quota * 8.0))
}

/// The worst of every quota and first guess.
fn worst(
    quotas: &[(u32, [u32; 3])],
    windows: &[(&str, Window)],
    rounds: &[(bool, Duration)],
) -> (f64, f64) {
    let mut worst = (1.0_f64, 0.0_f64);
    for (name, window) in windows {
        for (quota, guesses) in quotas {
            let (mut used, mut in_vain) = (1.0_f64, 0.0_f64);
            for guess in guesses {
                for (polite, round) in rounds {
                    let found = shares(*window, (*quota, *guess), *polite, *round);
                    (used, in_vain) = (used.min(found.0), in_vain.max(found.1));
                }
            }
            println!("{name:22} {quota:5} a minute: {used:.3} used, {in_vain:.3} asked in vain");
            worst = (worst.0.min(used), worst.1.max(in_vain));
        }
    }
    worst
}

#[test]
fn nearly_all_of_an_unknown_quota_is_used_and_little_is_asked_in_vain() {
    let quotas = [(60, [10, 60, 600]), (600, [60, 600, 6_000]), (3_600, [60, 3_600, 10_000])];
    let windows = [
        ("a minute", Window::Fixed(MINUTE, Duration::ZERO)),
        ("a minute, begun before", Window::Fixed(MINUTE, SEC * 17)),
        ("a minute, nearly over", Window::Fixed(MINUTE, SEC * 58)),
        ("a sliding minute", Window::Sliding(MINUTE)),
        ("a bucket", Window::Bucket(SEC * 6)),
    ];
    let rounds = [(false, SEC / 20), (false, SEC), (true, SEC / 20), (true, SEC)];
    let (used, in_vain) = worst(&quotas, &windows, &rounds);
    assert!(used >= 0.95 && in_vain <= 0.1, "{used:.3} used, {in_vain:.3} in vain");
}

#[test]
fn windows_of_a_second_are_used_as_well() {
    let windows =
        [("a second", Window::Fixed(SEC, SEC / 3)), ("a sliding second", Window::Sliding(SEC))];
    let (used, in_vain) = worst(&[(3_600, [60, 3_600, 10_000])], &windows, &[(false, SEC / 20)]);
    assert!(used >= 0.95 && in_vain <= 0.1, "{used:.3} used, {in_vain:.3} in vain");
}
