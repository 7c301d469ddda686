//! The chart and the samples on a real cluster, through Helm itself.

use e2e::cluster::Cluster;
use e2e::{Context, Result, rights, site};

const NAMESPACE: &str = "binlog-system";
const OPERATOR: &str = "system:serviceaccount:binlog-system:binlog-operator";

/// Helm with the words of one line.
async fn helm(cluster: &Cluster, line: &str) -> Result<String> {
    cluster.helm(&line.split(' ').collect::<Vec<_>>()).await
}

/// Kubectl with the words of one line.
async fn kubectl(cluster: &Cluster, line: &str) -> Result<String> {
    cluster.kubectl(&line.split(' ').collect::<Vec<_>>()).await
}

const RELEASE: &str = "binlog-operator";
const CHART: &str = "charts/binlog-operator";
const WAIT: &str = "--wait --timeout 120s";

/// One story, since all of it is one release of one cluster.
#[tokio::test(flavor = "multi_thread")]
async fn installs_upgrades_and_leaves_the_streams_when_uninstalled() -> Result<()> {
    let cluster = Cluster::shared().await?;
    e2e::release::import_images(cluster).await?;
    let place = format!("{RELEASE} {CHART} -n {NAMESPACE} {WAIT}");

    // The chart before this one: its definition has a column less.
    let older = older_chart()?;
    let notes = helm(
        cluster,
        &format!("install {RELEASE} {older} -n {NAMESPACE} --create-namespace {WAIT}"),
    )
    .await?;
    assert!(notes.contains("filter narrows the change log only"), "{notes}");
    kubectl(cluster, "wait --for=condition=Established crd/binlogstreams.binlogstream.io").await?;
    kubectl(cluster, "apply -f config/samples/paused.yaml").await?;
    let stream = "get stream archive-later -o jsonpath={.metadata.uid}{.spec.state}";
    let before = kubectl(cluster, stream).await?;
    assert!(!columns(cluster).await?.contains(COLUMN));

    helm(cluster, &format!("upgrade {place}")).await?;
    assert!(columns(cluster).await?.contains(COLUMN), "the upgrade left the definition behind");
    assert_eq!(kubectl(cluster, stream).await?, before, "the upgrade touched a stream");
    accepts_every_sample(cluster).await?;
    denies_the_operator_what_it_need_not(cluster).await?;

    checked(cluster, NAMESPACE).await?;
    tells_of_a_missing_right(cluster).await?;
    // The right was taken by another hand, which Helm does not overrule unasked.
    helm(cluster, &format!("upgrade {place} --force-conflicts --set concurrency=8")).await?;
    let image = "{.spec.template.spec.containers[0].args}";
    let get = format!("get deployment binlog-operator -n {NAMESPACE} -o jsonpath={image}");
    let arguments = kubectl(cluster, &get).await?;
    assert!(arguments.contains("--concurrency=8"), "{arguments}");
    checked(cluster, NAMESPACE).await?;

    helm(cluster, &format!("rollback {RELEASE} 1 -n {NAMESPACE} {WAIT}")).await?;
    assert!(
        !columns(cluster).await?.contains(COLUMN),
        "the rollback left the definition as it was"
    );
    assert_eq!(kubectl(cluster, stream).await?, before, "the rollback touched a stream");

    helm(cluster, &format!("uninstall {RELEASE} -n {NAMESPACE} {WAIT}")).await?;
    let left = kubectl(cluster, "get streams -o name").await?;
    assert_eq!(left.trim(), "binlogstream.binlogstream.io/archive-later");

    // The definition that was left is taken over by the next install.
    helm(cluster, &format!("install {place}")).await?;
    kubectl(cluster, "delete stream archive-later --timeout=60s").await?;
    helm(cluster, &format!("uninstall {RELEASE} -n {NAMESPACE} {WAIT}")).await?;
    works_in_two_namespaces_without_a_cluster_wide_right(cluster).await
}

/// A column of `kubectl get streams` that the older chart's definition lacks.
const COLUMN: &str = "Gaps";

/// A copy of the chart whose definition lacks the column.
fn older_chart() -> Result<String> {
    let chart = site::folder("older")?.join("binlog-operator");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&site::tree().join(CHART), &chart])
        .status()
        .context(|| "run cp")?;
    assert!(copied.success());
    let file = chart.join("templates/crds.yaml");
    let text = std::fs::read_to_string(&file)?;
    let (head, columns) =
        text.split_once("  - additionalPrinterColumns:\n").context(|| "columns")?;
    let (columns, tail) = columns.split_once("    name: v1alpha1\n").context(|| "the version")?;
    let is_kept = |entry: &&str| !entry.contains(&format!("name: {COLUMN}\n"));
    let columns = columns.split("  - ").filter(is_kept).collect::<Vec<_>>().join("  - ");
    std::fs::write(
        &file,
        format!("{head}  - additionalPrinterColumns:\n{columns}    name: v1alpha1\n{tail}"),
    )?;
    Ok(chart.display().to_string())
}

async fn columns(cluster: &Cluster) -> Result<String> {
    let path = "{.spec.versions[0].additionalPrinterColumns[*].name}";
    kubectl(cluster, &format!("get crd binlogstreams.binlogstream.io -o jsonpath={path}")).await
}

/// `helm test` finds everything as it must be.
async fn checked(cluster: &Cluster, namespace: &str) -> Result<()> {
    let report = helm(cluster, &format!("test {RELEASE} -n {namespace} --timeout 60s")).await?;
    assert!(report.contains("Succeeded"), "{report}");
    Ok(())
}

async fn tells_of_a_missing_right(cluster: &Cluster) -> Result<()> {
    let rules =
        kubectl(cluster, "get clusterrole binlog-operator -o jsonpath={.rules[*].resources[0]}")
            .await?;
    let events = rules.split(' ').position(|resource| resource == "events");
    let events = events.context(|| "no rule about events")?;
    let patch = format!(r#"[{{"op":"remove","path":"/rules/{events}"}}]"#);
    kubectl(cluster, &format!("patch clusterrole binlog-operator --type=json -p={patch}")).await?;
    let outcome = helm(cluster, &format!("test {RELEASE} -n {NAMESPACE} --timeout 60s")).await;
    assert!(outcome.is_err(), "helm test misses nothing though a right is gone");
    let log = kubectl(cluster, &format!("logs -n {NAMESPACE} binlog-operator-check")).await?;
    assert!(
        log.contains("the operator may not create events.events.k8s.io in all namespaces"),
        "{log}"
    );
    Ok(())
}

async fn works_in_two_namespaces_without_a_cluster_wide_right(cluster: &Cluster) -> Result<()> {
    const TEAM: &str = "team-system";
    for namespace in ["shop", "bank"] {
        cluster.namespace(namespace).await?;
    }
    // The definition is there already, as in a cluster where somebody else made it.
    let values = format!("{CHART}/examples/namespaced.yaml");
    let place = format!("{RELEASE} {CHART} -n {TEAM} --create-namespace -f {values} {WAIT}");
    helm(cluster, &format!("install {place}")).await?;
    checked(cluster, TEAM).await?;
    kubectl(cluster, "apply -n shop -f config/samples/paused.yaml").await?;
    kubectl(cluster, "wait -n shop --for=jsonpath={.status.observedGeneration}=1 stream/archive-later --timeout=60s").await?;
    let account = format!("system:serviceaccount:{TEAM}:binlog-operator");
    let (handled, others) = (["shop", "bank"], ["default", TEAM, "kube-system", ""]);
    let client = cluster.client().await?;
    let wrong = rights::differences(&client, &account, &handled, &others).await?;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    kubectl(cluster, "delete -n shop stream archive-later --timeout=60s").await?;
    helm(cluster, &format!("uninstall {RELEASE} -n {TEAM} {WAIT}")).await?;
    Ok(())
}

async fn accepts_every_sample(cluster: &Cluster) -> Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir(site::tree().join("config/samples"))? {
        let file = entry?.path();
        let file = file.display();
        let answer = kubectl(cluster, &format!("apply --dry-run=server -f {file}")).await?;
        assert!(answer.contains("(server dry run)"), "{file}: {answer}");
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} samples");
    Ok(())
}

async fn denies_the_operator_what_it_need_not(cluster: &Cluster) -> Result<()> {
    for what in [
        "get secrets",
        "list secrets",
        "watch secrets",
        "create secrets",
        "create pods",
        "create pods --subresource=exec",
        "get pods --subresource=log",
        "delete configmaps",
        "delete persistentvolumeclaims",
        "patch binlogstreams.binlogstream.io",
        "get nodes",
        "get namespaces/default",
    ] {
        // can-i ends with 1 for "no".
        let asked = format!("auth can-i {what} --all-namespaces --as={OPERATOR}");
        let answer = match kubectl(cluster, &asked).await {
            Ok(answer) => answer,
            Err(failure) => failure.to_string(),
        };
        assert!(answer.lines().any(|line| line.trim_end().ends_with("no")), "{what}: {answer}");
    }
    let token = kubectl(cluster, &format!("create token binlog-operator -n {NAMESPACE}")).await?;
    for accept in
        ["application/json", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"]
    {
        let answer = request(cluster, token.trim(), "/api/v1/secrets", accept).await?;
        assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/2 403"), "{answer}");
    }
    Ok(())
}

/// A raw request with a token; the first line of the answer.
async fn request(cluster: &Cluster, token: &str, path: &str, accept: &str) -> Result<String> {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--include", "--cacert"])
        .arg(cluster.authority().certificate())
        .args(["-H", &format!("Accept: {accept}"), "-H", &format!("Authorization: Bearer {token}")])
        .arg(format!("https://127.0.0.1:{}{path}", cluster.port()))
        .output()
        .await
        .context(|| "run curl")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
