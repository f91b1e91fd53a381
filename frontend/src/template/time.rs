//! The clock of a template: a civil date and time, and Python's `strftime` on it.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A date and time of day in the proleptic Gregorian calendar, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Year, e.g. 2026.
    pub year: i32,
    /// Month, 1–12.
    pub month: u8,
    /// Day of the month, 1–31.
    pub day: u8,
    /// Hour, 0–23.
    pub hour: u8,
    /// Minute, 0–59.
    pub minute: u8,
    /// Second, 0–60.
    pub second: u8,
}

impl DateTime {
    /// The system clock now, in UTC. A clock before 1970 reads as 1970.
    pub fn system_utc() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// The UTC time `seconds` after 1970-01-01T00:00:00, within the years ±200 000 (further ones are clamped).
    pub fn from_unix(seconds: i64) -> Self {
        const LIMIT: i64 = 200_000 * 366 * 86_400;
        let seconds = seconds.clamp(-LIMIT, LIMIT);
        let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = ((time / 3600) as u8, (time / 60 % 60) as u8, (time % 60) as u8);
        Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        }
    }

    /// Days since 1970-01-01.
    fn days(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    fn weekday(&self) -> usize {
        (self.days() + 4).rem_euclid(7) as usize
    }

    fn day_of_year(&self) -> i64 {
        self.days() - days_from_civil(self.year, 1, 1) + 1
    }
}

/// Days since 1970-01-01 of a civil date; years start in March, so that the leap day comes last.
fn days_from_civil(year: i32, month: u8, day: u8) -> i64 {
    let month = i64::from(month.clamp(1, 12));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (
        (era * 400 + year_of_era + i64::from(month <= 2)) as i32,
        month as u8,
        day as u8,
    )
}

/// Python's `datetime.strftime` in the C locale; glibc's `%-d` (no padding) works too. An unknown directive is an
/// error rather than silently wrong text.
pub(super) fn strftime(now: &DateTime, format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let padded = directive != Some('-');
        if !padded {
            directive = chars.next();
        }
        write_directive(&mut out, now, directive, padded)?;
    }
    Ok(out)
}

fn write_directive(
    out: &mut String,
    now: &DateTime,
    directive: Option<char>,
    padded: bool,
) -> Result<(), Error> {
    let hour12 = (i64::from(now.hour) + 11) % 12 + 1;
    let month = MONTHS[usize::from(now.month.clamp(1, 12) - 1)];
    let weekday = WEEKDAYS[now.weekday()];
    let (value, width) = match directive {
        Some('d') => (i64::from(now.day), 2),
        Some('m') => (i64::from(now.month), 2),
        Some('y') => (i64::from(now.year).rem_euclid(100), 2),
        Some('Y') => (i64::from(now.year), 4),
        Some('H') => (i64::from(now.hour), 2),
        Some('I') => (hour12, 2),
        Some('M') => (i64::from(now.minute), 2),
        Some('S') => (i64::from(now.second), 2),
        Some('f') => (0, 6),
        Some('j') => (now.day_of_year(), 3),
        Some('w') => (now.weekday() as i64, 1),
        Some('u') => ((now.weekday() as i64 + 6) % 7 + 1, 1),
        other => return write_text_directive(out, now, other, month, weekday),
    };
    let width = if padded { width } else { 0 };
    write!(out, "{value:0width$}").map_err(|_| Error::new(ErrorKind::WriteFailure, "strftime_now"))
}

fn write_text_directive(
    out: &mut String,
    now: &DateTime,
    directive: Option<char>,
    month: &str,
    weekday: &str,
) -> Result<(), Error> {
    match directive {
        Some('B') => out.push_str(month),
        Some('b' | 'h') => out.push_str(&month[..3]),
        Some('A') => out.push_str(weekday),
        Some('a') => out.push_str(&weekday[..3]),
        Some('p') => out.push_str(if now.hour < 12 { "AM" } else { "PM" }),
        Some('e') => out.push_str(&format!("{:2}", now.day)),
        Some('F') => out.push_str(&strftime(now, "%Y-%m-%d")?),
        Some('T' | 'X') => out.push_str(&strftime(now, "%H:%M:%S")?),
        Some('R') => out.push_str(&strftime(now, "%H:%M")?),
        Some('D' | 'x') => out.push_str(&strftime(now, "%m/%d/%y")?),
        Some('c') => out.push_str(&strftime(now, "%a %b %e %H:%M:%S %Y")?),
        // A naive datetime has no zone: Python prints nothing for these.
        Some('z' | 'Z') => {}
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('%') => out.push('%'),
        Some(c) => return Err(bad_format(format!("unknown directive %{c}"))),
        None => return Err(bad_format("the format ends inside a directive".into())),
    }
    Ok(())
}

fn bad_format(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formats_like_python() {
        let now = DateTime {
            year: 2026,
            month: 1,
            day: 2,
            hour: 3,
            minute: 4,
            second: 5,
        };
        for (format, expected) in [
            ("%Y-%m-%d", "2026-01-02"),
            ("%B %d, %Y", "January 02, 2026"),
            ("%-d %b %y, %A %a", "2 Jan 26, Friday Fri"),
            ("%I:%M:%S %p day %j %%", "03:04:05 AM day 002 %"),
            (
                "%c|%e|%F %T|%u%w|%f",
                "Fri Jan  2 03:04:05 2026| 2|2026-01-02 03:04:05|55|000000",
            ),
        ] {
            assert_eq!(strftime(&now, format).unwrap(), expected);
        }
        assert!(strftime(&now, "%Q").unwrap_err().to_string().contains("%Q"));
        assert!(strftime(&now, "50%").is_err());
    }

    #[test]
    fn unix_times_are_civil_dates() {
        let leap = DateTime::from_unix(1_709_251_199);
        assert_eq!(
            leap,
            DateTime {
                year: 2024,
                month: 2,
                day: 29,
                hour: 23,
                minute: 59,
                second: 59
            }
        );
        let before = DateTime::from_unix(-1);
        assert_eq!(
            before,
            DateTime {
                year: 1969,
                month: 12,
                day: 31,
                hour: 23,
                minute: 59,
                second: 59
            }
        );
    }

    proptest! {
        #[test]
        fn days_round_trip(days in -3_000_000i64..3_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn any_value_and_format_is_safe(year in any::<i32>(), parts in any::<[u8; 5]>(), format in "(%?.){0,8}") {
            let [month, day, hour, minute, second] = parts;
            let _ = strftime(&DateTime { year, month, day, hour, minute, second }, &format);
        }
    }
}
