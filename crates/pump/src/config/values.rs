//! Values of settings with the place that each came from.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
};

use super::finding::Place;

/// A value of the kind that its setting wants.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Data {
    Text(String),
    Bool(bool),
    Int(i64),
    Texts(Vec<String>),
    Ints(Vec<i64>),
    Map(Vec<(String, String)>),
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Value.
    pub data: Data,
    /// Where it was set last.
    pub place: Place,
}

/// The values of one section that are set, by the setting's key.
#[derive(Clone, Debug, Default)]
pub struct Values {
    entries: BTreeMap<&'static str, Entry>,
    /// Settings whose value could not be used, and that nothing else has set since.
    unusable: Vec<&'static str>,
}

impl Values {
    /// Sets a value.
    pub fn set(&mut self, key: &'static str, data: Data, place: Place) {
        self.unusable.retain(|bad| *bad != key);
        self.entries.insert(key, Entry { data, place });
    }

    /// Notes that a value was given and cannot be used.
    pub fn set_unusable(&mut self, key: &'static str) {
        if !self.unusable.contains(&key) {
            self.unusable.push(key);
        }
    }

    /// Whether the last value that was given for this setting could not be used.
    pub fn is_unusable(&self, key: &str) -> bool {
        self.unusable.contains(&key)
    }

    /// Takes a value away: its default counts.
    pub fn unset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Where a setting was set.
    pub fn place(&self, key: &str) -> Place {
        self.entries
            .get(key)
            .map(|entry| entry.place.clone())
            .unwrap_or_default()
    }

    /// The text of a setting; empty if it is not set.
    pub fn text(&self, key: &str) -> &str {
        match self.data(key) {
            Some(Data::Text(text)) => text,
            _ => "",
        }
    }

    /// The number of a setting.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.data(key) {
            Some(Data::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// The switch of a setting.
    pub fn switch(&self, key: &str) -> Option<bool> {
        match self.data(key) {
            Some(Data::Bool(on)) => Some(*on),
            _ => None,
        }
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.switch(key).unwrap_or(false)
    }

    /// The texts of a setting.
    pub fn texts(&self, key: &str) -> &[String] {
        match self.data(key) {
            Some(Data::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The numbers of a setting.
    pub fn ints(&self, key: &str) -> &[i64] {
        match self.data(key) {
            Some(Data::Ints(numbers)) => numbers,
            _ => &[],
        }
    }

    /// The pairs of a setting.
    pub fn pairs(&self, key: &str) -> &[(String, String)] {
        match self.data(key) {
            Some(Data::Map(pairs)) => pairs,
            _ => &[],
        }
    }

    /// The value of a setting.
    pub fn data(&self, key: &str) -> Option<&Data> {
        self.entries.get(key).map(|entry| &entry.data)
    }

    /// Everything that is set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    /// Every text that is set, also in lists and objects, to be changed.
    pub fn texts_mut(&mut self) -> Vec<(&'static str, &mut String)> {
        let mut found = Vec::new();
        for (key, entry) in &mut self.entries {
            match &mut entry.data {
                Data::Text(text) => found.push((*key, text)),
                Data::Texts(texts) => found.extend(texts.iter_mut().map(|text| (*key, text))),
                Data::Map(pairs) => found.extend(pairs.iter_mut().map(|(_, text)| (*key, text))),
                Data::Bool(_) | Data::Int(_) | Data::Ints(_) => {}
            }
        }
        found
    }
}

/// The address in `host:port`, or in `:port`, which is that of all interfaces.
pub fn parse_address(text: &str) -> Option<SocketAddr> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    full.to_socket_addrs().ok()?.next()
}

/// Where programs on this machine reach whoever listens on `address`: who listens on all interfaces is at the loopback
/// address.
pub fn from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Seconds from a number or a text of numbers with units: `90`, `1.5s`, `2m30s`, `500ms`.
pub fn parse_span(text: &str) -> Option<std::time::Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(std::time::Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    if text.is_empty() {
        return None;
    }
    std::time::Duration::try_from_secs_f64(seconds).ok()
}

/// Bytes from a number or a text with a unit: `1048576`, `256MiB`, `2 GB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}
