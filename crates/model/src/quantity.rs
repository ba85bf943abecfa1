//! Durations and sizes as people write them: `300s`, `1h30m`, `500ms`, `64MB`. It does not know what they limit.

use std::time::Duration;

/// Longer durations are refused: a hundred years, which keeps every later sum in range.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `500ms`, `90s`, `5m`, `1h30m`, `2d`, `1.5s`. Every number has its unit.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    let mut last = f64::INFINITY;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        // Units fall, as in `1h30m`; `30m1h` and `1s1s` are slips.
        if seconds >= last {
            return None;
        }
        last = seconds;
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail.trim_start();
    }
    seconds(total)
}

/// A bare number of seconds.
pub fn seconds(seconds: f64) -> Option<Duration> {
    // Rounded to microseconds, so that 0.1 s is what it says.
    let micros = (seconds * 1e6).round();
    if !(micros >= 0.0 && micros <= MAX_DURATION.as_secs_f64() * 1e6) {
        return None;
    }
    Some(Duration::from_micros(micros as u64))
}

/// `64MB`, `1.5GB`, `512 KiB`, `100B` in bytes; units are powers of 1024 with or without the `i`.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|at| *at > 0)?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    bytes(number.parse::<f64>().ok()? * (1u64 << shift) as f64)
}

/// A bare number of megabytes.
pub fn megabytes(number: f64) -> Option<u64> {
    bytes(number * (1 << 20) as f64)
}

fn bytes(bytes: f64) -> Option<u64> {
    (bytes >= 1.0 && bytes <= (1u64 << 50) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let ms = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(ms("300s"), Some(300_000));
        assert_eq!(ms("5m"), Some(300_000));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("1.5s"), Some(1500));
        for bad in ["", "soon", "5", "-5s", "1s1s", "30m1h", "5 parsecs", "1e9d", "99999999999999d", "1..5s", "s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(seconds(-5.0), None);
        assert_eq!(seconds(f64::NAN), None);
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!(size("64MB"), Some(64 << 20));
        assert_eq!(size("1 KiB"), Some(1024));
        assert_eq!(megabytes(2.0), Some(2 << 20));
        for bad in ["", "MB", "-1MB", "64", "0MB", "9999999TB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
