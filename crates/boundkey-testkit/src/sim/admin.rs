//! The administrator: the service's own functions, and what the docs say to do where a machine is shut out.

use std::future::Future;
use std::pin::Pin;

use boundkey_api::VerbRequest;
use boundkey_lifecycle::LockOrigin;
use boundkey_service::admin::{apply_resources, carry_out_verb, remove_lock};
use boundkey_service::{RequestContext, Service, join};
use boundkey_store::Store as _;
use boundkey_token::{Bot, Lock, LockTarget, Resource};

use super::edges::view;
use super::judge::Knowledge;
use super::plan::{Onboard, name};
use super::server::at_once;
use super::world::{Done, Of, World};

/// What the administrator waits for.
pub(super) struct AdminTask {
    pub(super) server: usize,
    pub(super) verb: &'static str,
    token: usize,
    history: u64,
}

type Work = Pin<Box<dyn Future<Output = Result<Option<String>, String>>>>;

impl World {
    /// Tokens, bots and machines, before anything can go wrong.
    pub(super) fn found(&mut self) {
        let service = self.servers[0].service.clone().expect("it was started");
        let bot = Bot {
            name: name("b0"),
            labels: Default::default(),
            expires: None,
            revision: None,
            logins: vec!["ops".to_owned()],
            admin_role: None,
            token_prefix: None,
        };
        let mut resources = vec![Resource::Bot(bot)];
        resources.extend(self.tokens.iter().map(|plan| Resource::Token(plan.token.clone())));
        let context = RequestContext::new(service.entropy(), None, "admin:socket");
        self.hub.lock().quiet = true;
        let applied = at_once(apply_resources(&service, &context, &resources, false));
        applied.expect("the world's own resources are good");
        // The hub was quiet: the judge reads them once, as a start.
        let everything = at_once(self.store.range("", None, usize::MAX, service.now()));
        self.hub.lock().quiet = false;
        let writes: Vec<_> = everything
            .map(|page| page.entries)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| boundkey_store::Write::Put { key: entry.key, value: entry.value })
            .collect();
        if let Err(fault) = self.judge.admin_committed(&writes, "create") {
            self.fail(fault);
        }
        for token in 0..self.tokens.len() {
            let secret = self.tokens[token].spec_secret();
            let name = self.tokens[token].name.clone();
            if let Some(view) = self.judge.views.get_mut(&name) {
                view.secret = secret;
            }
            self.deploy(token);
        }
    }

    /// Hands work to a replica that is up, if one is.
    fn administer(
        &mut self,
        verb: &'static str,
        token: usize,
        work: impl FnOnce(Service, RequestContext) -> Work,
    ) {
        let up: Vec<usize> = (0..self.servers.len()).filter(|s| self.servers[*s].service.is_some()).collect();
        let pick = self.rng(&[0xad, self.judge.step]).index(up.len());
        let Some(server) = up.get(pick).copied() else { return };
        let Some(service) = self.service(server) else { return };
        let context = RequestContext::new(service.entropy(), None, "admin:socket");
        self.note(|| format!("the administrator: {verb} t{token} at server {server}"));
        let work = work(service, context);
        let task = AdminTask { server, verb, token, history: self.judge.history };
        let id = self.spawn(Of::Admin(task), Box::pin(async move { Done::Admin(work.await) }));
        self.poll(id);
    }

    pub(super) fn verb(&mut self, verb: &'static str, token: usize, request: VerbRequest) {
        let name = self.tokens[token].name.clone();
        self.administer(verb, token, |service, context| {
            Box::pin(async move {
                let answer = carry_out_verb(&service, &context, &name, verb, &request).await;
                answer.map(|answer| answer.registration_secret).map_err(|refusal| refusal.to_string())
            })
        })
    }

    /// The token as it is on file.
    pub(super) fn apply(&mut self, token: usize) {
        let resource = Resource::Token(self.tokens[token].token.clone());
        self.apply_resource("apply", token, resource)
    }

    fn apply_resource(&mut self, verb: &'static str, token: usize, resource: Resource) {
        self.administer(verb, token, |service, context| {
            Box::pin(async move {
                let applied = apply_resources(&service, &context, &[resource], true).await;
                applied.map(|_| None).map_err(|refusal| refusal.to_string())
            })
        })
    }

    pub(super) fn lock(&mut self, token: usize, ttl: Option<time::Duration>) {
        let target = self.tokens[token].name.clone();
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let lock = Lock {
            name: name(&format!("hand-{target}")),
            revision: None,
            target: LockTarget::Token(target),
            message: Some("by hand".to_owned()),
            expires: ttl.map(|ttl| now + ttl),
        };
        self.apply_resource("lock", token, Resource::Lock(lock))
    }

    /// Removes the locks by hand.
    pub(super) fn unlock(&mut self, token: usize) {
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let view = self.judge.view(&self.tokens[token].name);
        let by_hand =
            view.and_then(|view| view.locks_in_force(now).find(|lock| lock.origin == LockOrigin::ByHand));
        let Some(id) = by_hand.map(|lock| lock.id.clone()) else { return };
        self.administer("unlock", token, |service, context| {
            Box::pin(async move {
                remove_lock(&service, &context, &id)
                    .await
                    .map(|()| None)
                    .map_err(|refusal| refusal.to_string())
            })
        })
    }

    /// What a server does every second or so.
    pub(super) fn flush(&mut self) {
        self.administer("flush", 0, |service, _| {
            Box::pin(async move {
                let now = service.now();
                join::flush_refusals(&service, now).await.map(|_| None).map_err(|refusal| refusal.to_string())
            })
        })
    }

    pub(super) fn administered(&mut self, task: AdminTask, outcome: Result<Option<String>, String>) {
        let AdminTask { verb, token, history, .. } = task;
        match outcome {
            Ok(Some(secret)) if history == self.judge.history => self.enrol_anew(token, &secret),
            Ok(_) => {}
            Err(refusal) => self.note(|| format!("the administrator is refused {verb}: {refusal}")),
        }
    }

    /// After `reset`: the machine is given the new secret; half of them are told to forget their state first.
    fn enrol_anew(&mut self, token: usize, secret: &str) {
        let name = self.tokens[token].name.clone();
        let Some(view) = self.judge.views.get_mut(&name) else { return };
        if view.enrolment.is_bound() {
            // Somebody else reset it again, or it is bound already.
            return;
        }
        view.secret = Some(secret.to_owned());
        self.judge.taint(&name).reset = true;
        let machines: Vec<usize> = (0..self.actors.len())
            .filter(|a| self.actors[*a].honest && self.actors[*a].token == token)
            .collect();
        for actor in machines {
            self.process_dies(actor, 1_000_000);
            let forgets = self.rng(&[0xf0, actor as u64, self.judge.step]).chance(500);
            let knows = &mut self.judge.holders[actor].knows;
            if forgets {
                self.actors[actor].disk.wipe();
                *knows = Knowledge::default();
                knows.learn(view_of_nothing());
            }
            knows.secret = Some(secret.to_owned());
            let mut rng = self.rng(&[0x71, actor as u64]);
            self.actors[actor].plan =
                std::sync::Arc::new(self.tokens[token].join_plan(Some(secret), &mut rng));
        }
    }

    /// The remedy of the docs for what shuts the token's machine out now, if anything does.
    pub(super) fn heal(&mut self, token: usize) -> Option<&'static str> {
        let name = self.tokens[token].name.clone();
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let view = self.judge.view(&name)?.clone();
        let theft = self.judge.taint(&name).theft;
        if view.is_expired(now) {
            self.tokens[token].token.expires = None;
            self.apply(token);
            return Some("the token had expired");
        }
        if view.locks_in_force(now).any(|lock| lock.origin == LockOrigin::ByHand) {
            self.unlock(token);
            return Some("locked by hand");
        }
        if view.locks_in_force(now).any(|lock| lock.origin != LockOrigin::ByHand) {
            let bound = view.enrolment.bound_public_key.as_ref().map(|key| key.thumbprint());
            let holds = self.actors.iter().zip(&self.judge.holders).any(|(actor, holder)| {
                let disk = holder.knows.disk;
                actor.honest
                    && actor.token == token
                    && bound.is_some()
                    && [disk.bound, disk.new].contains(&bound)
            });
            return if (theft || !holds) && self.tokens[token].onboard != Onboard::Static {
                self.verb("reset", token, VerbRequest::default());
                Some(if theft { "a clone: reset" } else { "a snapshot older than a rotation: reset" })
            } else {
                self.verb("resync", token, VerbRequest::default());
                Some("a reverted snapshot: resync")
            };
        }
        let grace = if view.is_bot() { self.judge.graces.1 } else { self.judge.graces.0 };
        let late = view.enrolment.certificates_revoked
            || view.enrolment.certificates_expire_at.is_some_and(|end| now >= end + grace);
        if view.enrolment.is_bound() && late && view.enrolment.recovery_count >= view.limit() {
            self.verb("grant-recovery", token, VerbRequest { count: Some(1), ..VerbRequest::default() });
            return Some("recoveries used up: grant-recovery");
        }
        None
    }
}

fn view_of_nothing() -> super::hub::DiskView {
    view(&boundkey_keystore::AgentState::default())
}
