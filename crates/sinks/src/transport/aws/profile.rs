//! Profiles of the shared files `config` and `credentials`.

use std::collections::BTreeMap;

use reqsign_core::Context;

use super::variable;

/// Settings by section, names in small letters.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// The profiles of this machine.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    /// Name of the chosen one.
    chosen: String,
    /// `default`, `profile NAME`, `sso-session NAME`.
    sections: Sections,
}

impl Profiles {
    /// Reads the files that there are.
    pub(super) async fn read(context: &Context) -> Profiles {
        let mut sections = Sections::new();
        if let Some(text) = file(context, "AWS_CONFIG_FILE", "~/.aws/config").await {
            add(&mut sections, &text, str::to_owned);
        }
        // Here names stand alone, and what is written goes before the other file.
        if let Some(text) = file(context, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials").await {
            add(&mut sections, &text, section);
        }
        Profiles {
            chosen: variable(context, &["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]).unwrap_or_else(|| "default".to_owned()),
            sections,
        }
    }

    /// Name of the chosen profile.
    pub(super) fn name(&self) -> &str {
        &self.chosen
    }

    /// A setting of the chosen profile.
    pub(super) fn chosen(&self, key: &str) -> Option<String> {
        self.get(&self.chosen, key)
    }

    /// Whether there is such a profile.
    pub(super) fn has(&self, profile: &str) -> bool {
        self.sections.contains_key(&section(profile))
    }

    /// A setting of a profile that is not empty.
    pub(super) fn get(&self, profile: &str, key: &str) -> Option<String> {
        self.setting(&section(profile), key)
    }

    /// A setting of a session of single sign-on.
    pub(super) fn session(&self, session: &str, key: &str) -> Option<String> {
        self.setting(&format!("sso-session {session}"), key)
    }

    fn setting(&self, section: &str, key: &str) -> Option<String> {
        let value = self.sections.get(section)?.get(key)?;
        (!value.is_empty()).then(|| value.clone())
    }
}

fn section(profile: &str) -> String {
    match profile {
        "default" => profile.to_owned(),
        profile => format!("profile {profile}"),
    }
}

async fn file(context: &Context, name: &str, usual: &str) -> Option<String> {
    let path = variable(context, &[name]).unwrap_or_else(|| usual.to_owned());
    let path = context.expand_home_dir(&path)?;
    tokio::fs::read_to_string(path).await.ok()
}

fn add(sections: &mut Sections, text: &str, name: impl Fn(&str) -> String) {
    let mut current = None;
    for line in text.lines() {
        // What is indented belongs to a setting that is none of ours.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or_default();
            let words: Vec<&str> = title.split_whitespace().collect();
            let title = match words.as_slice() {
                ["profile", "default"] => "default".to_owned(),
                words => words.join(" "),
            };
            current = Some(name(&title));
            continue;
        }
        let (Some(section), Some((key, value))) = (&current, line.split_once('=')) else {
            continue;
        };
        let value = value.split(" #").next().unwrap_or_default();
        let value = value.split(" ;").next().unwrap_or_default();
        let settings = sections.entry(section.clone()).or_default();
        settings.insert(key.trim().to_lowercase(), value.trim().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_come_from_both_files() {
        let mut sections = Sections::new();
        let config = "# all\n[default]\nregion = eu-west-1\n[profile  p]\nRegion=us-east-2 # there\ns3 =\n  region = no\n\
                      output\n[sso-session s]\nsso_region = eu-west-3\n";
        add(&mut sections, config, str::to_owned);
        add(&mut sections, "[p]\naws_access_key_id = AKID;1\nregion=\n", section);
        let profiles = Profiles {
            chosen: "p".to_owned(),
            sections,
        };
        assert_eq!(profiles.get("default", "region").as_deref(), Some("eu-west-1"));
        assert_eq!(profiles.chosen("aws_access_key_id").as_deref(), Some("AKID;1"));
        assert_eq!(profiles.chosen("region"), None);
        assert_eq!(profiles.session("s", "sso_region").as_deref(), Some("eu-west-3"));
        assert!(profiles.has("p") && !profiles.has("q"));
    }
}
