//! Cold rooms as sensors see them: plausible readings, each following from the one before.
//!
//! Pure: time and randomness are arguments.

use rand::{Rng, RngExt as _};

/// Records in the pack of one reading.
pub(super) const RECORDS_PER_PACK: u64 = 5;

/// Degrees that a room is cooled to, and those at which cooling begins and an alarm is raised.
const COLD: f64 = 3.0;
const COOLING_FROM: f64 = 5.0;
const ALARM_FROM: f64 = 8.0;
/// Degrees outside.
const WARM: f64 = 22.0;
/// Chance that a closed door is opened, and that an open one is closed, from one reading to the next.
const OPENED: f64 = 0.03;
const CLOSED: f64 = 0.15;

/// What a cold room does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Cooling,
    Alarm,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Cooling => "cooling",
            Self::Alarm => "alarm",
        }
    }
}

/// A cold room with its sensor.
#[derive(Debug)]
pub(super) struct ColdRoom {
    temperature: f64,
    humidity: f64,
    battery: f64,
    door_open: bool,
    state: State,
}

impl ColdRoom {
    /// A room in the middle of its day.
    pub(super) fn new(random: &mut impl Rng) -> Self {
        Self {
            temperature: random.random_range(3.0..6.0),
            humidity: random.random_range(70.0..85.0),
            battery: random.random_range(60.0..100.0),
            door_open: false,
            state: State::Idle,
        }
    }

    /// The next reading.
    pub(super) fn step(&mut self, random: &mut impl Rng) {
        self.door_open =
            if self.door_open { !random.random_bool(CLOSED) } else { random.random_bool(OPENED) };
        let (towards, share) = match (self.door_open, self.state) {
            (true, _) => (WARM, 0.03),
            (false, State::Idle) => (WARM, 0.004),
            (false, State::Cooling | State::Alarm) => (COLD - 2.0, 0.05),
        };
        self.temperature += (towards - self.temperature) * share + random.random_range(-0.08..0.08);
        let damp = if self.door_open { 92.0 } else { 76.0 };
        self.humidity += (damp - self.humidity) * 0.05 + random.random_range(-0.4..0.4);
        self.humidity = self.humidity.clamp(40.0, 99.0);
        self.battery = (self.battery - random.random_range(0.0..0.01)).max(0.0);
        self.state = match self.state {
            _ if self.temperature >= ALARM_FROM => State::Alarm,
            _ if self.temperature >= COOLING_FROM => State::Cooling,
            _ if self.temperature <= COLD => State::Idle,
            State::Alarm => State::Cooling,
            unchanged => unchanged,
        };
    }

    /// The reading as a SenML pack of [`RECORDS_PER_PACK`] records, at a time in microseconds since the epoch.
    ///
    /// The time is absolute, so that a pack that is sent again is stored once.
    pub(super) fn pack(&self, micros: u64) -> String {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        format!(
            r#"[{{"bt":{seconds}.{fraction:06},"n":"temperature","u":"Cel","v":{:.2}}},{{"n":"humidity","u":"%RH","v":{:.1}}},{{"n":"battery","u":"%EL","v":{:.1}}},{{"n":"door","vb":{}}},{{"n":"state","vs":"{}"}}]"#,
            self.temperature,
            self.humidity,
            self.battery,
            self.door_open,
            self.state.as_str(),
        )
    }
}

#[cfg(test)]
mod tests {
    use domain::ReceivedAt;
    use domain::senml::{self, Format, PackLimits, Scratch};
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn readings_stay_plausible_and_every_state_and_door_is_seen() {
        let mut random = StdRng::seed_from_u64(1);
        let mut room = ColdRoom::new(&mut random);
        let (mut states, mut doors, mut warmest) = (Vec::new(), Vec::new(), f64::MIN);
        for _ in 0..20_000 {
            let before = room.temperature;
            room.step(&mut random);
            assert!(
                (-5.0..WARM).contains(&room.temperature) && (before - room.temperature).abs() < 1.0,
                "{room:?}"
            );
            assert!(
                (40.0..=99.0).contains(&room.humidity) && (0.0..=100.0).contains(&room.battery),
                "{room:?}"
            );
            warmest = warmest.max(room.temperature);
            for (seen, new) in [
                (&mut states, room.state.as_str()),
                (&mut doors, if room.door_open { "open" } else { "closed" }),
            ] {
                if !seen.contains(&new) {
                    seen.push(new);
                }
            }
        }
        states.sort_unstable();
        assert_eq!((states, doors.len()), (vec!["alarm", "cooling", "idle"], 2), "warmest {warmest}");
    }

    #[test]
    fn a_pack_is_senml_of_every_kind_at_the_time_given() {
        let room = ColdRoom {
            temperature: 4.126,
            humidity: 71.0,
            battery: 99.96,
            door_open: true,
            state: State::Alarm,
        };
        let pack = room.pack(1_764_085_267_000_042);
        let wanted = r#"[{"bt":1764085267.000042,"n":"temperature","u":"Cel","v":4.13},{"n":"humidity","u":"%RH","v":71.0},{"n":"battery","u":"%EL","v":100.0},{"n":"door","vb":true},{"n":"state","vs":"alarm"}]"#;
        assert_eq!(pack, wanted);
        let received = ReceivedAt::from_micros(1_764_085_267_100_000);
        let checked = senml::check(
            Format::Json,
            pack.as_bytes(),
            received,
            &PackLimits::default(),
            &mut Scratch::default(),
        );
        assert!(checked.is_ok());
    }
}
