//! Passwords, keys and row values are looked for wherever a person or a program could read them.

use k8s_openapi::ByteString;

use super::*;

const PASSWORD: &str = "canary-password-5c1d";
const ROW: &str = "canary-row-value-77ab";

/// Texts with where each was read.
type Texts = Vec<(String, String)>;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_row_value_is_told_anywhere() -> Result<()> {
    let cluster = installed().await?;
    let (server, s3) = stage(ServerKind::MariaDb118).await?;
    let stream = StreamResource::new(cluster, "canary", &server, &s3).await?;
    // Refused first, so that the errors are among what is read.
    stream.set_secret("source", &[("username", "repl"), ("password", PASSWORD)]).await?;
    stream.create().await?;
    let (ready, no) = (ConditionType::Ready, ConditionStatus::False);
    stream.says(ready, no, &["AuthFailed"], SETTLED).await?;
    let refused = stream.log().await?;
    server
        .run(&[
            &format!("ALTER USER repl IDENTIFIED BY '{PASSWORD}'"),
            "CREATE TABLE shop.canary (id INT PRIMARY KEY, t TEXT)",
            &format!("INSERT INTO shop.canary VALUES (1, '{ROW}')"),
            &format!("UPDATE shop.canary SET id = 2, t = '{ROW} {ROW}'"),
            "DROP TABLE shop.canary",
        ])
        .await?;
    stream.ready().await?;
    stream.archived_all_of(&server, ARCHIVED).await?;

    let mut texts = vec![("the log of the refused worker".to_owned(), refused)];
    texts.push(("the worker's log".into(), stream.log().await?));
    for path in ["/status", "/metrics", "/readyz"] {
        texts.push((format!("the worker's {path}"), stream.get(path).await?.1));
    }
    for what in [
        "logs -n binlog-system deployment/binlog-operator",
        "get streams,deployments,pods,configmaps,services,roles -A -o yaml",
        "get events.events.k8s.io -A -o yaml",
        "describe stream -n canary canary",
        "describe pods -n canary",
    ] {
        let words: Vec<_> = what.split(' ').collect();
        texts.push((format!("kubectl {what}"), cluster.kubectl(&words).await?));
    }
    texts.extend(processes()?);

    let mut secrets = Vec::new();
    for secret in [PASSWORD, SECRET_KEY, ROW] {
        secrets.extend([secret.to_owned(), coded(secret)?]);
    }
    for (place, text) in &texts {
        let told = secrets.iter().position(|secret| text.contains(secret.as_str()));
        // The text is not shown: it holds the secret.
        assert_eq!(told, None, "{place} holds secret number {told:?}");
    }
    // The search finds what is there.
    let held = cluster.kubectl(&["get", "secret", "-n", "canary", "-o", "yaml"]).await?;
    assert!(held.contains(&coded(PASSWORD)?) && held.contains(&coded(SECRET_KEY)?));
    Ok(())
}

/// As a Secret shows it.
fn coded(secret: &str) -> Result<String> {
    let coded = serde_json::to_value(ByteString(secret.into()))?;
    Ok(coded.as_str().context(|| "no text")?.to_owned())
}

/// Command line and environment of each process of operator and worker.
fn processes() -> Result<Texts> {
    let (mut texts, mut programs) = (Texts::new(), std::collections::BTreeSet::new());
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(folder.join("cmdline")) else { continue };
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default().to_owned();
        if program != b"/worker" && program != b"/operator" {
            continue;
        }
        let Ok(environment) = std::fs::read(folder.join("environ")) else { continue };
        let shown = String::from_utf8_lossy(&program).into_owned();
        texts.push((format!("the command line of {shown}"), String::from_utf8_lossy(&line).into()));
        let environment = String::from_utf8_lossy(&environment).into_owned();
        texts.push((format!("the environment of {shown}"), environment));
        programs.insert(shown);
    }
    assert_eq!(programs.len(), 2, "not both programs run: {programs:?}");
    Ok(texts)
}
