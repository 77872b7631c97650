//! A machine without a network: messages made by the client's half of the protocol, handed to the server's join loop.

use boundkey_keys::{Entropy, PrivateKey, Secret, secret_proof_key};
use boundkey_proto::{
    AttemptId, JoinAnswer, JoinResult, MachineFacts, PROTOCOL_VERSION, Request, build_complete,
    read_challenge,
};
use boundkey_service::{RequestContext, Service, join};
use boundkey_token::{RequestedNames, Role, RoleSet};

pub(crate) const CLUSTER: &str = "example.com";

pub(crate) struct Direct {
    token: String,
    key: PrivateKey,
    tls: PrivateKey,
    state: Option<String>,
}

impl Direct {
    pub(crate) fn new(token: String, entropy: &dyn Entropy) -> Self {
        let key = || PrivateKey::ed25519_from_seed(&drawn(entropy));
        Self { token, key: key(), tls: key(), state: None }
    }

    pub(crate) fn secret(&self, entropy: &dyn Entropy) -> Secret {
        Secret::generated(drawn(entropy))
    }

    /// Its token, with this secret, as YAML.
    pub(crate) fn resource(&self, secret: &Secret) -> String {
        format!(
            "kind: token\nversion: v2\nmetadata: {{name: {}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
             bound_keypair: {{onboarding: {{registration_secret: {}}}}}\n",
            self.token,
            secret.expose()
        )
    }

    /// A whole join. Panics if it is not admitted at once.
    pub(crate) async fn join(
        &mut self,
        service: &Service,
        entropy: &dyn Entropy,
        secret: Option<&Secret>,
    ) -> JoinResult {
        let challenge = join::begin(service, service.now()).challenge;
        let view = read_challenge(&challenge, Some(CLUSTER)).expect("our cluster's challenge");
        let request = Request {
            version: PROTOCOL_VERSION,
            token: self.token.parse().expect("a name"),
            roles: RoleSet::new([Role::Node]),
            attempt: AttemptId(drawn(entropy)),
            bound_key: self.key.public_key().clone(),
            new_key: None,
            tls_key: self.tls.public_key().clone(),
            ssh_key: None,
            names: RequestedNames::default(),
            ttl_seconds: None,
            join_state: self.state.clone(),
            facts: MachineFacts::default(),
        };
        let proof_key = secret.map(|secret| secret_proof_key(secret, CLUSTER, &self.token));
        let complete = build_complete(&challenge, &view, &request, &self.key, None, proof_key.as_deref())
            .expect("a message that fits");
        let body = serde_json::to_vec(&complete).expect("JSON");
        let context = RequestContext::new(service.entropy(), None, "join");
        match join::complete(service, &body, &context, service.now()).await {
            Ok(JoinAnswer::Admitted(result)) => {
                self.state = Some(result.join_state.clone());
                *result
            }
            other => panic!("{} is not admitted: {other:?}", self.token),
        }
    }
}

fn drawn<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
