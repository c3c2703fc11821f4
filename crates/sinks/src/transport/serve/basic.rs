//! A user name and a password in front of what is served.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, header};
use subtle::ConstantTimeEq;

/// Who may ask.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// `user:password`
    wanted: String,
}

impl BasicAuth {
    /// This user with this password.
    pub fn new(user: &str, password: &str) -> BasicAuth {
        BasicAuth {
            wanted: format!("{user}:{password}"),
        }
    }

    /// Whether these headers name them. How long that takes says nothing about them but their length.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let authorization = headers.get(header::AUTHORIZATION);
        let given = authorization.and_then(|value| credentials(value.to_str().ok()?));
        given.is_some_and(|given| self.wanted.as_bytes().ct_eq(&given).into())
    }
}

/// `user:password` out of `Basic dXNlcjpwYXNzd29yZA==`.
fn credentials(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, coded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64_STANDARD.decode(coded.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_and_password_are_let_in() {
        let auth = BasicAuth::new("prom", "s3:cret");
        let admits = |authorization: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
            auth.admits(&headers)
        };
        let coded = |text: &str| BASE64_STANDARD.encode(text);
        assert!(admits(&format!("Basic {}", coded("prom:s3:cret"))));
        assert!(admits(&format!("basic  {}", coded("prom:s3:cret"))));
        for wrong in ["prom:s3:cre", "prom:", "", "Prom:s3:cret"] {
            assert!(!admits(&format!("Basic {}", coded(wrong))), "{wrong}");
        }
        assert!(!admits("Basic prom:s3:cret"));
        assert!(!admits(&format!("Bearer {}", coded("prom:s3:cret"))));
        assert!(!auth.admits(&HeaderMap::new()));
    }
}
