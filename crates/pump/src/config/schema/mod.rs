//! Every setting outside the sinks' own `meta`: the one table that the reader, the environment, the warnings,
//! the reference page and the JSON schema are made from.

mod embedded;
mod pump;
mod storage;
mod top;
mod uptime;

pub use embedded::EMBEDDED;
pub use pump::PUMP;
pub use storage::STORAGE;
pub use top::{DELIVERY, STORE_KEYS, TOP};
pub use uptime::UPTIME;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// true or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A whole number, not negative.
    Uint,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Ints,
    /// An object of texts.
    TextMap,
    /// A length of time: a number of seconds, or a text such as `30s`.
    Span,
    /// A number of bytes, or a text such as `256MiB`.
    Bytes,
}

impl Kind {
    /// The kind in words, as the reference page shows it.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Text | Kind::Secret => "text",
            Kind::Bool => "true or false",
            Kind::Int | Kind::Uint => "number",
            Kind::Texts => "list of texts",
            Kind::Ints => "list of numbers",
            Kind::TextMap => "object of texts",
            Kind::Span => "seconds, or a text like \"30s\"",
            Kind::Bytes => "bytes, or a text like \"256MiB\"",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in the file, below its section; a dot leads into an object.
    pub key: &'static str,
    /// Name in the environment, behind the section's prefix, as the reference has it; empty: none.
    pub env: &'static str,
    /// Values.
    pub kind: Kind,
    /// Effective default in words.
    pub default: &'static str,
    /// One sentence for the reference page.
    pub doc: &'static str,
}

/// Settings that stand in one object.
#[derive(Debug)]
pub struct Section {
    /// Key of the object; empty: the document itself.
    pub key: &'static str,
    /// Prefixes in the environment, each with its underscore; later ones win.
    pub prefixes: &'static [&'static str],
    /// An addition of ours: spellings do not matter to the reference.
    pub ours: bool,
    /// Settings in the order of the reference page.
    pub settings: &'static [Setting],
    /// Further keys that hold objects with tables of their own.
    pub objects: &'static [&'static str],
}

/// All sections but that of a pump, in the order in which they are read.
pub const SECTIONS: &[&Section] = &[&TOP, &STORAGE, &UPTIME, &DELIVERY, &EMBEDDED];

/// Key under which pumps stand.
pub const PUMPS: &str = "pumps";

/// Key under which secret stores stand.
pub const KV: &str = "kv";

impl Section {
    /// The setting with this key, in any case.
    pub fn find(&self, key: &str) -> Option<&'static Setting> {
        self.settings
            .iter()
            .find(|setting| setting.key.eq_ignore_ascii_case(key))
    }

    /// The full key of a setting: `analytics_storage_config.host`.
    pub fn full_key(&self, setting: &Setting) -> String {
        match self.key {
            "" => setting.key.to_owned(),
            key => format!("{key}.{}", setting.key),
        }
    }

    /// Every name behind a prefix that this setting answers to, the reference's own first. `exact`: only that one,
    /// as the reference does.
    pub fn env_names(&self, setting: &Setting, exact: bool) -> Vec<String> {
        let mut names = Vec::new();
        if setting.env.is_empty() {
            return names;
        }
        names.push(setting.env.to_owned());
        if exact && !self.ours {
            return names;
        }
        let upper = setting.key.to_uppercase();
        for name in [upper.replace('_', "").replace('.', "_"), upper.replace('.', "_")] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Prefixes, with the spelling after the key of the object unless `exact`.
    pub fn env_prefixes(&self, exact: bool) -> Vec<String> {
        let mut prefixes = Vec::new();
        for prefix in self.prefixes {
            let spelled = format!("TYK_PMP_{}_", self.key.to_uppercase());
            let same = |text: &str| text.replace('_', "");
            if !exact && spelled != **prefix && same(&spelled) == same(prefix) {
                prefixes.push(spelled);
            }
            prefixes.push((*prefix).to_owned());
        }
        prefixes
    }
}

const fn setting(
    key: &'static str,
    env: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        env,
        kind,
        default,
        doc,
    }
}
