//! What a service says against a call, or against an entry of a batch.

use serde_json::Value;

use crate::{
    WriteError,
    transport::{http::Answer, words::plain},
};

/// What an error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It will pass.
    Passing,
    /// Who calls may not, or is not known.
    Identity,
    /// Somebody has to change something.
    Setup,
    /// The request is too large.
    TooLarge,
}

/// What codes mean that several services have; `None`: something is wrong with the request.
pub(crate) fn kind_of(code: &str) -> Option<Kind> {
    Some(match code {
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerException"
        | "KMSThrottlingException"
        | "KmsThrottled"
        | "LimitExceededException"
        | "OverLimit"
        | "PriorRequestNotComplete"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ResourceInUseException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "TransactionInProgressException" => Kind::Passing,
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => Kind::Identity,
        "InvalidAction"
        | "InvalidAddress"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KmsInvalidKeyUsage"
        | "KmsInvalidState"
        | "KmsNotFound"
        | "KmsOptInRequired"
        | "MissingParameter"
        | "NonExistentQueue"
        | "QueueDoesNotExist"
        | "ResourceNotFoundException"
        | "UnknownOperationException"
        | "UnsupportedOperation" => Kind::Setup,
        "BatchRequestTooLong" | "RequestEntityTooLarge" | "RequestTooLong" => Kind::TooLarge,
        _ => return None,
    })
}

/// Code and words of an entry of a batch, for an error text.
pub(crate) fn entry_words(code: &str, message: &str) -> String {
    let (code, words) = (shown(code), plain(message));
    match words.is_empty() {
        true => code.to_owned(),
        false => format!("{code}: {words}"),
    }
}

/// `code` if it looks like one.
fn shown(code: &str) -> &str {
    let is_code = !code.is_empty() && code.len() <= 80 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    if is_code { code } else { "an unknown error" }
}

/// A call that was answered with an error.
#[derive(Debug)]
pub(crate) struct Failure {
    operation: &'static str,
    code: String,
    answer: Answer,
}

impl Failure {
    pub(super) fn new(operation: &'static str, answer: Answer) -> Failure {
        let header = answer
            .headers
            .get("x-amzn-errortype")
            .and_then(|value| value.to_str().ok());
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let member = ["__type", "code", "Code"]
            .into_iter()
            .find_map(|key| body.get(key)?.as_str());
        Failure {
            operation,
            code: bare(header.or(member).unwrap_or_default()).to_owned(),
            answer,
        }
    }

    /// Its code, without what precedes and follows it; empty if there is none.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// What was answered; the beginning, if it is long.
    pub(crate) fn body(&self) -> &[u8] {
        &self.answer.body
    }

    pub(super) fn is_about_identity(&self) -> bool {
        self.kind() == Some(Kind::Identity)
    }

    /// What it means; `None`: something is wrong with the request.
    pub(crate) fn kind(&self) -> Option<Kind> {
        kind_of(&self.code).or_else(|| match self.answer.status.as_u16() {
            413 => Some(Kind::TooLarge),
            408 | 425 | 429 | 500.. => Some(Kind::Passing),
            401 | 403 => Some(Kind::Identity),
            200..=399 | 404 | 405 | 407 => Some(Kind::Setup),
            _ => None,
        })
    }

    /// Operation, status and code, and of the message what cannot be a piece of the request.
    pub(crate) fn describe(&self) -> String {
        let said = self.answer.describe();
        match self.code.is_empty() {
            true => format!("{}: {said}", self.operation),
            false => format!("{}: {}: {said}", self.operation, shown(&self.code)),
        }
    }

    /// What it means for the rows of the call.
    pub(crate) fn into_error(self) -> WriteError {
        let (text, operation) = (self.describe(), self.operation);
        match self.kind() {
            Some(Kind::Passing) => WriteError::Retry {
                after: self.answer.retry_after(),
                source: text.into(),
            },
            Some(Kind::Identity) => WriteError::Config(
                format!("{text} – check the keys or the role, that they may {operation}, the region and the clock")
                    .into(),
            ),
            Some(Kind::Setup) => WriteError::Config(
                format!("{text} – check name, account, region and keys of what is written to").into(),
            ),
            Some(Kind::TooLarge) | None => WriteError::Reject {
                rows: Vec::new(),
                source: text.into(),
            },
        }
    }
}

/// `com.amazonaws.sqs#QueueDoesNotExist`, `AWS.SimpleQueueService.NonExistentQueue`, `Throttling:http://…`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    code.rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_every_form() {
        for (code, want) in [
            ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
            ("AWS.SimpleQueueService.BatchRequestTooLong", "BatchRequestTooLong"),
            ("ThrottlingException:http://internal.amazon.com/", "ThrottlingException"),
            ("", ""),
        ] {
            assert_eq!(bare(code), want);
        }
    }

    #[test]
    fn nothing_but_codes_and_words_of_errors_is_shown() {
        assert_eq!(entry_words("InternalError", "try again, alice"), "InternalError: try …");
        assert_eq!(entry_words("{\"a\":1}", "5f2b"), "an unknown error");
    }
}
