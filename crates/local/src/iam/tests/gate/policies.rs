//! Policies over gRPC, of topics, subscriptions and buckets.

use googleapis_tonic_google_iam_v1::google::iam::v1 as wire;

use super::*;

/// A resource's name, its service, the service's path to it and what its permissions begin with.
const RESOURCES: [(&str, Service, &str, &str); 3] = [
    (TOPIC, Service::Pubsub, "/google.iam.v1.IAMPolicy", "pubsub.topics"),
    (SUB, Service::Pubsub, "/google.iam.v1.IAMPolicy", "pubsub.subscriptions"),
    (
        "projects/_/buckets/bucket",
        Service::Storage,
        "/google.storage.v2.Storage",
        "storage.buckets",
    ),
];

#[tokio::test]
async fn a_policy_is_read_changed_and_tested() {
    let yard = Yard::new();
    for (name, service, path, permissions) in RESOURCES {
        let send = async |method: &str, op: Op| {
            let outcome = yard.send(&op, &yard.token).await;
            assert_eq!(outcome.status, 200, "{name}: {method}");
            outcome
        };
        let resource = || name.to_owned();
        let method = |name: &str| format!("{path}/{name}");
        let get = wire::GetIamPolicyRequest { resource: resource(), options: None };
        let get = async || send("get", grpc(service, &method("GetIamPolicy"), &get, &[])).await;
        let set = async |policy: wire::Policy| {
            let request = wire::SetIamPolicyRequest {
                resource: resource(),
                policy: Some(policy),
                update_mask: None,
            };
            send("set", grpc(service, &method("SetIamPolicy"), &request, &[])).await
        };
        let [read, write] = ["get", "set"].map(|it| format!("{permissions}.{it}IamPolicy"));
        yard.hold(&[]);
        assert_eq!(get().await.grpc, Some(7));
        yard.hold(&[&read]);
        let mut policy: wire::Policy = get().await.message();
        assert_eq!(set(policy.clone()).await.grpc, Some(7));
        yard.hold(&[&read, &write]);
        let members = vec![format!("serviceAccount:{ME}")];
        let role = "roles/browser".to_owned();
        policy.bindings.push(wire::Binding { role, members, condition: None });
        let mut conditional = policy.bindings[0].clone();
        conditional.condition.get_or_insert_default().expression = "false".to_owned();
        policy.bindings.push(conditional);
        policy.version = 3;
        let changed: wire::Policy = set(policy.clone()).await.message();
        assert_eq!(changed.bindings, policy.bindings);
        assert_eq!(get().await.message::<wire::Policy>(), changed);
        assert_eq!(set(policy).await.grpc, Some(10), "somebody else has changed it");

        let asked = [&read, "resourcemanager.projects.get", "pubsub.topics.publish"];
        let permissions = asked.map(str::to_owned).to_vec();
        let test = wire::TestIamPermissionsRequest { resource: resource(), permissions };
        let held = send("test", grpc(service, &method("TestIamPermissions"), &test, &[])).await;
        let held: wire::TestIamPermissionsResponse = held.message();
        assert_eq!(held.permissions, asked[..2]);
    }
}

#[tokio::test]
async fn nothing_is_kept_for_what_is_not_there() {
    let yard = Yard::new();
    yard.hold(&universe());
    for (name, service, path, _) in RESOURCES {
        let resource = format!("{name}-missing");
        let policy = Some(wire::Policy::default());
        let request = wire::SetIamPolicyRequest { resource, policy, update_mask: None };
        let op = grpc(service, &format!("{path}/SetIamPolicy"), &request, &[]);
        assert_eq!(yard.send(&op, &yard.token).await.grpc, Some(5), "{name}");
    }
}
