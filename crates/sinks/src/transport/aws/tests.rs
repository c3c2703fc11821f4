use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use fakes::http::{Fault, HttpServer, Received, Reply};
use reqsign_core::StaticEnv;

use super::*;

const API: Api = Api {
    name: "kinesis",
    host: "kinesis",
    variable: "KINESIS",
    target: "Kinesis_20131202",
    content_type: "application/x-amz-json-1.1",
};

fn environment(home: Option<&Path>, variables: &[(&str, &str)]) -> StaticEnv {
    let pairs = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    StaticEnv {
        home_dir: home.map(Path::to_owned),
        envs: pairs.collect::<HashMap<_, _>>(),
    }
}

fn settings<'a>(region: &'a str, endpoint: &'a str) -> Settings<'a> {
    Settings {
        region: ("meta.region", region),
        endpoint: ("meta.aws_endpoint", endpoint),
        keys: None,
    }
}

/// What every service says that has credentials: AWS has as many forms as it has services.
fn answer(request: &Received) -> Reply {
    let path = request.path.as_str();
    let body = String::from_utf8_lossy(&request.body).into_owned() + path;
    let credentials = |id: &str| {
        format!(
            "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>token of {id}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        )
    };
    let json = |id: &str| {
        format!(
            r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"s","Token":"token of {id}","Expiration":"2099-01-01T00:00:00Z"}}"#
        )
    };
    let said = if body.contains("AssumeRoleWithWebIdentity") {
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>{}\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            credentials("WEB")
        )
    } else if body.contains("AssumeRole") {
        assert!(
            request.header("authorization").contains("Credential=SOURCE/"),
            "{request:?}"
        );
        format!(
            "<AssumeRoleResponse><AssumeRoleResult>{}</AssumeRoleResult></AssumeRoleResponse>",
            credentials("ROLE56789ABCDEF0")
        )
    } else if path.contains("role_name=reader") && request.header("x-amz-sso_bearer_token") == "bearer" {
        r#"{"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"s","sessionToken":"token of SSO","expiration":4070908800000}}"#
            .to_owned()
    } else if path == "/container" {
        json("CONTAINER")
    } else if path == "/latest/api/token" {
        "token".to_owned()
    } else if path == "/latest/meta-data/iam/security-credentials/" {
        "role".to_owned()
    } else if path == "/latest/meta-data/iam/security-credentials/role" {
        json("INSTANCE")
    } else {
        "{}".to_owned()
    };
    Reply::new(200, said)
}

async fn service(server: &HttpServer, home: &Path, variables: &[(&str, &str)]) -> Service {
    let environment = environment(Some(home), variables);
    Service::with_environment(&API, settings("eu-central-1", &server.url()), environment)
        .await
        .unwrap()
}

/// As whom a service is called, and with which token.
async fn identity(server: &HttpServer, home: &Path, variables: &[(&str, &str)]) -> Result<String, WriteError> {
    let service = service(server, home, variables).await;
    service.call("PutRecords", "{}").await?.map_err(Failure::into_error)?;
    let call = server.seen().pop().unwrap();
    assert_eq!(call.header("x-amz-target"), "Kinesis_20131202.PutRecords");
    let scope = call.header("authorization").split("Credential=").nth(1).unwrap();
    let (id, scope) = scope.split_once('/').unwrap();
    assert!(scope.contains("/eu-central-1/kinesis/aws4_request"), "{scope}");
    Ok(format!("{id}, {}", call.header("x-amz-security-token")))
}

fn write(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn credentials_come_from_every_place_in_the_order_of_awss_own_tools() {
    let server = HttpServer::start(answer).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let container = format!("{}/container", server.url());
    let sso = format!("{}/federation", server.url());
    let url = server.url();
    let token_file = home.join("token").display().to_string();
    write(home, "token", "jwt\n");
    write(
        home,
        ".aws/config",
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = source\n\
         [profile process]\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"PROCESS\",' '\"SecretAccessKey\": \"s\"}'\n\
         [profile sso]\nsso_session = work\nsso_account_id = 1\nsso_role_name = reader\n\
         [sso-session work]\nsso_region = eu-west-1\nsso_start_url = https://x.example\n",
    );
    write(
        home,
        ".aws/credentials",
        "[source]\naws_access_key_id = SOURCE\naws_secret_access_key = s\n",
    );
    // The token's file is named after the SHA-1 of the session's name.
    let cache = format!(".aws/sso/cache/{}.json", reqsign_core::hash::hex_sha1(b"work"));
    write(
        home,
        &cache,
        r#"{"accessToken":"bearer","expiresAt":"2099-01-01T00:00:00Z"}"#,
    );

    let instance = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let mut all = instance.clone();
    let rows: [(&[(&str, &str)], &str); 6] = [
        (
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container)],
            "CONTAINER, token of CONTAINER",
        ),
        (&[("AWS_PROFILE", "process")], "PROCESS, "),
        (
            &[("AWS_PROFILE", "sso"), ("AWS_SSO_ENDPOINT", &sso)],
            "SSO, token of SSO",
        ),
        (
            &[("AWS_PROFILE", "role"), ("AWS_ENDPOINT_URL_STS", &url)],
            "ROLE56789ABCDEF0, token of ROLE56789ABCDEF0",
        ),
        (
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &token_file),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/w"),
            ],
            "WEB, token of WEB",
        ),
        (
            &[
                ("AWS_ACCESS_KEY_ID", "ENV"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("AWS_SESSION_TOKEN", "t"),
            ],
            "ENV, t",
        ),
    ];
    assert_eq!(
        identity(&server, home, &all).await.unwrap(),
        "INSTANCE, token of INSTANCE"
    );
    for (variables, expected) in rows {
        // Later ones go before earlier ones.
        all.retain(|(name, _)| *name != "AWS_PROFILE");
        all.extend_from_slice(variables);
        assert_eq!(identity(&server, home, &all).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_place_that_is_configured_and_fails_is_named_and_no_other_takes_its_place() {
    let server = HttpServer::start(|request: &Received| match request.path.as_str() {
        "/container" => Reply::new(403, r#"{"message":"Access denied for arn:secret"}"#),
        _ => answer(request),
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let url = server.url();
    let container = format!("{url}/container");
    write(
        home,
        ".aws/config",
        "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\n",
    );
    let rows: [(&[(&str, &str)], &str); 4] = [
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container)], "the container"),
        (&[("AWS_PROFILE", "p")], "source_profile"),
        (
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/file"),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/w"),
            ],
            "/no/such/file",
        ),
        (&[("AWS_EC2_METADATA_DISABLED", "true")], "AWS_ACCESS_KEY_ID"),
    ];
    for (variables, named) in rows {
        let mut all = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
        all.extend_from_slice(variables);
        let error = identity(&server, home, &all).await.unwrap_err();
        assert!(matches!(error, WriteError::Config(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(named) && !text.contains("arn:secret"), "{text}");
    }
    server.set_fault(Some(Fault::HangsUp));
    let error = identity(&server, home, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container)]).await;
    assert!(matches!(error, Err(WriteError::Retry { .. })), "{error:?}");
}

#[tokio::test]
async fn credentials_that_the_service_does_not_know_are_looked_for_again() {
    let calls = AtomicUsize::new(0);
    let server = HttpServer::start(move |request: &Received| match request.header("x-amz-target") {
        "" => answer(request),
        _ if calls.fetch_add(1, SeqCst) == 1 => {
            Reply::new(400, r#"{"__type":"ExpiredTokenException","message":"expired"}"#)
        }
        _ => Reply::new(200, "{}"),
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let container = format!("{}/container", server.url());
    let service = service(
        &server,
        folder.path(),
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container)],
    )
    .await;
    for fine in [true, false, true] {
        assert_eq!(service.call("PutRecords", "{}").await.unwrap().is_ok(), fine);
    }
    let asked = server
        .seen()
        .iter()
        .filter(|request| request.path == "/container")
        .count();
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn region_and_address_come_from_options_environment_and_profile() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        ".aws/config",
        "[default]\nregion = eu-west-3\n[profile p]\nregion = us-gov-west-1\nendpoint_url = http://p.test\n",
    );
    let url = async |region: &str, endpoint: &str, variables: &[(&str, &str)]| {
        let environment = environment(Some(folder.path()), variables);
        let made = Service::with_environment(&API, settings(region, endpoint), environment).await;
        made.map(|service| service.url.to_string())
            .map_err(|error| error.to_string())
    };
    #[rustfmt::skip]
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 9] = [
        ("", "", &[], "https://kinesis.eu-west-3.amazonaws.com/"),
        (
            "",
            "",
            &[("AWS_REGION", "cn-north-1")],
            "https://kinesis.cn-north-1.amazonaws.com.cn/",
        ),
        (
            "eu-west-1",
            "",
            &[("AWS_REGION", "cn-north-1")],
            "https://kinesis.eu-west-1.amazonaws.com/",
        ),
        ("", "", &[("AWS_PROFILE", "p")], "http://p.test/"),
        (
            "",
            "",
            &[("AWS_PROFILE", "p"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
            "https://kinesis.us-gov-west-1.amazonaws.com/",
        ),
        ("", "", &[("AWS_ENDPOINT_URL", "http://a.test:1")], "http://a.test:1/"),
        (
            "",
            "",
            &[
                ("AWS_ENDPOINT_URL", "http://a.test:1"),
                ("AWS_ENDPOINT_URL_KINESIS", "http://k.test"),
            ],
            "http://k.test/",
        ),
        (
            "",
            "http://o.test/",
            &[("AWS_ENDPOINT_URL", "http://a.test:1")],
            "http://o.test/",
        ),
        (
            "",
            "",
            &[("AWS_USE_FIPS_ENDPOINT", "true")],
            "https://kinesis-fips.eu-west-3.amazonaws.com/",
        ),
    ];
    for (region, endpoint, variables, expected) in rows {
        assert_eq!(url(region, endpoint, variables).await.unwrap(), expected);
    }
    let nowhere = environment(None, &[]);
    let error = Service::with_environment(&API, settings("", ""), nowhere)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("meta.region is missing"), "{error}");
    let error = url("", "sqs.local", &[]).await.unwrap_err();
    assert!(error.starts_with("meta.aws_endpoint: "), "{error}");
    let error = url("eu west", "", &[]).await.unwrap_err();
    assert!(error.contains("eu west"), "{error}");
}
