//! Encryption of the stream, which the start switches on.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{SPEC, Stream};
use crate::{BuildError, transport::aws::Service};

/// For both calls together.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Described {
    stream_description: Description,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Description {
    encryption_type: Option<String>,
    key_id: Option<String>,
}

/// Leaves a stream alone that is encrypted with `key`.
///
/// # Errors
/// It is encrypted with another one; the service does not answer, or refuses.
pub(super) async fn switch_on(service: &Service, stream: &Stream, key: &str) -> Result<(), BuildError> {
    match tokio::time::timeout(PATIENCE, calls(service, stream, key)).await {
        Ok(done) => done,
        Err(_) => unavailable(format!(
            "no answer about the stream's encryption within {} s",
            PATIENCE.as_secs()
        )),
    }
}

fn unavailable(text: String) -> Result<(), BuildError> {
    Err(BuildError::Unavailable(text.into()))
}

async fn calls(service: &Service, Stream(member, stream): &Stream, key: &str) -> Result<(), BuildError> {
    let said = match service
        .call("DescribeStream", json!({*member: stream}).to_string())
        .await
    {
        Ok(Ok(said)) => said,
        Ok(Err(failure)) => {
            let error = failure.into_error();
            return unavailable(format!("failed to describe Kinesis stream: {error}"));
        }
        Err(error) => return unavailable(format!("failed to describe Kinesis stream: {error}")),
    };
    let Ok(Described {
        stream_description: now,
    }) = serde_json::from_slice(&said)
    else {
        return unavailable("failed to describe Kinesis stream: the answer is not one of Kinesis".to_owned());
    };
    if let (Some("KMS"), Some(known)) = (now.encryption_type.as_deref(), now.key_id.filter(|id| !id.is_empty())) {
        return match is_same(key, &known) {
            Some(false) => Err(BuildError::Options(
                "server-side encryption is already enabled with a different KMS Key ID – correct meta.kms_key_id, or \
                 change the stream's key"
                    .to_owned(),
            )),
            Some(true) => {
                tracing::info!(
                    prefix = SPEC.log_prefix,
                    "The stream is encrypted with the key of meta.kms_key_id"
                );
                Ok(())
            }
            None => {
                tracing::info!(
                    prefix = SPEC.log_prefix,
                    "The stream is encrypted; whether with the key of meta.kms_key_id cannot be seen from an alias"
                );
                Ok(())
            }
        };
    }
    let body = json!({*member: stream, "EncryptionType": "KMS", "KeyId": key});
    match service.call("StartStreamEncryption", body.to_string()).await {
        Ok(Ok(_)) => {
            tracing::info!(prefix = SPEC.log_prefix, "Encryption of the stream is switched on");
            Ok(())
        }
        // Somebody else is at it.
        Ok(Err(failure)) if failure.code() == "ResourceInUseException" => {
            tracing::info!(
                prefix = SPEC.log_prefix,
                "The stream is about to change; its encryption is left alone"
            );
            Ok(())
        }
        Ok(Err(failure)) => {
            let error = failure.into_error();
            unavailable(format!(
                "failed to enable server-side encryption for Kinesis stream: {error}"
            ))
        }
        Err(error) => unavailable(format!(
            "failed to enable server-side encryption for Kinesis stream: {error}"
        )),
    }
}

/// Whether the key of the options is the one that the service names, by id or ARN; `None`: an alias does not tell.
fn is_same(option: &str, known: &str) -> Option<bool> {
    let id = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    let is_alias = |key: &str| key.starts_with("alias/") || key.contains(":alias/");
    if option == known {
        return Some(true);
    }
    if is_alias(option) || is_alias(known) {
        return None;
    }
    // An ARN names account and region too.
    let both_whole = option.starts_with("arn:") && known.starts_with("arn:");
    Some(!both_whole && id(option) == id(known))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn a_key_is_known_by_its_id_and_by_its_arn() {
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/1234";
        assert_eq!(is_same("1234", arn), Some(true));
        assert_eq!(is_same(arn, arn), Some(true));
        assert_eq!(is_same("arn:aws:kms:eu-west-2:123456789012:key/1234", arn), Some(false));
        assert_eq!(is_same("12345", arn), Some(false));
        assert_eq!(is_same("alias/k", arn), None);
        assert_eq!(is_same("alias/k", "alias/k"), Some(true));
    }
}
