//! The administrator: the service's own functions, and what the docs say to do where a machine is shut out.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use boundkey_api::VerbRequest;
use boundkey_keys::Secret;
use boundkey_lifecycle::{LockInForce, LockOrigin};
use boundkey_service::admin::{apply_resources, carry_out_verb, remove_lock, remove_token};
use boundkey_service::sweep::Sweep;
use boundkey_service::{RequestContext, Service, join};
use boundkey_store::{Store as _, keys};
use boundkey_token::{Bot, Lock, LockTarget, Resource, SpecSecret};

use super::clock::MINUTE;
use super::judge::Knowledge;
use super::plan::{Onboard, name, secret};
use super::server::at_once;
use super::world::{Done, Of, World};

/// What the administrator waits for.
pub(super) struct AdminTask {
    pub(super) server: usize,
    pub(super) verb: &'static str,
    token: usize,
    history: u64,
}

/// Pages in a row at most: a world has no more marks than tokens.
const SWEEPS: usize = 5000;

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
        let now = service.now();
        let everything = at_once(self.store.range("", None, usize::MAX, now));
        self.hub.lock().quiet = false;
        let writes: Vec<_> = everything
            .map(|page| page.entries)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| boundkey_store::Write::Put { key: entry.key, value: entry.value })
            .collect();
        if let Err(fault) = self.judge.admin_committed(&writes, "create", now) {
            self.fail(fault);
        }
        for token in 0..self.tokens.len() {
            let secret = self.tokens[token].spec_secret();
            let name = self.tokens[token].name.clone();
            if let Some(view) = self.judge.views.tokens.get_mut(&name) {
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
        if let Some(server) = up.get(pick) {
            self.administer_at(*server, verb, token, work);
        }
    }

    fn administer_at(
        &mut self,
        server: usize,
        verb: &'static str,
        token: usize,
        work: impl FnOnce(Service, RequestContext) -> Work,
    ) {
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

    /// The token as it is on file; one that was removed waits until it is created again.
    pub(super) fn apply(&mut self, token: usize) {
        if self.judge.view(&self.tokens[token].name).is_none_or(|view| view.token.is_none()) {
            return;
        }
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
        let target = LockTarget::Token(self.tokens[token].name.clone());
        self.lock_target(token, "token", target, ttl);
    }

    /// The host or instance that the token's machine is, or its bot.
    pub(super) fn lock_identity(&mut self, token: usize, how: u64) {
        let Some(view) = self.judge.view(&self.tokens[token].name) else { return };
        let target = match (&view.enrolment.identity, &self.tokens[token].token.spec.bot_name) {
            (_, Some(bot)) if how.is_multiple_of(4) => LockTarget::Bot(bot.to_string()),
            (Some(id), _) if id.is_bot() => LockTarget::BotInstance(id.id().to_owned()),
            (Some(id), _) => LockTarget::Host(id.id().to_owned()),
            (None, _) => return,
        };
        let ttl =
            how.is_multiple_of(3).then(|| time::Duration::minutes(i64::try_from(how % 3000).unwrap_or(0)));
        let kind = if matches!(target, LockTarget::Bot(_)) { "bot" } else { "identity" };
        self.lock_target(token, kind, target, ttl);
    }

    fn lock_target(&mut self, token: usize, kind: &str, target: LockTarget, ttl: Option<time::Duration>) {
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let lock = Lock {
            name: name(&format!("hand-{kind}-{}", self.tokens[token].name)),
            revision: None,
            target,
            public_message: None,
            message: Some("by hand".to_owned()),
            expires: ttl.map(|ttl| now + ttl),
        };
        self.apply_resource("lock", token, Resource::Lock(lock))
    }

    /// Its machine is cut off.
    pub(super) fn remove(&mut self, token: usize, revoke: bool) {
        let name = self.tokens[token].name.clone();
        self.administer("remove", token, |service, context| {
            Box::pin(async move {
                let removed = remove_token(&service, &context, &name, revoke).await;
                removed.map(|()| None).map_err(|refusal| refusal.to_string())
            })
        })
    }

    /// Under the same name, with a secret that nobody used, for the same machine.
    pub(super) fn recreate(&mut self, token: usize) {
        let mut rng = self.rng(&[0x5ec, token as u64, self.judge.step]);
        let onboarding = &mut self.tokens[token].token.spec.bound_keypair.onboarding;
        if onboarding.registration_secret.is_some() {
            onboarding.registration_secret = Some(SpecSecret(Secret::new(secret(&mut rng))));
        }
        let resource = Resource::Token(self.tokens[token].token.clone());
        self.apply_resource("create", token, resource)
    }

    /// Removes the locks by hand.
    pub(super) fn unlock(&mut self, token: usize) {
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let by_hand = |lock: &&LockInForce| lock.origin == LockOrigin::ByHand;
        let lock = self.judge.views.locks_for(&self.tokens[token].name, now).find(by_hand);
        let Some(id) = lock.map(|lock| lock.id.clone()) else { return };
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

    /// What it does at its end.
    pub(super) fn flush_all(&mut self, server: usize) {
        self.administer_at(server, "flush", 0, |service, _| {
            Box::pin(async move {
                let written = join::flush_all_refusals(&service, service.now()).await;
                written.map(|_| None).map_err(|refusal| refusal.to_string())
            })
        })
    }

    /// One page of what a replica does behind a revocation of many.
    pub(super) fn sweep(&mut self) {
        self.administer("sweep", 0, |service, _| {
            Box::pin(async move {
                let now = service.now();
                let step = Sweep::default().step(&service, now).await;
                step.map(|_| None).map_err(|refusal| refusal.to_string())
            })
        })
    }

    /// Until everything that was revoked together is on the lists; judged by what the store holds then.
    pub(super) fn sweep_all(&mut self) {
        for _ in 0..SWEEPS {
            let now = boundkey_service::Clock::now(&*self.servers[0].clock);
            let stored = at_once(self.store.range("", None, usize::MAX, now));
            let stored: BTreeSet<String> =
                stored.map(|page| page.entries.into_iter().map(|e| e.key).collect()).unwrap_or_default();
            if !stored.iter().any(|key| key.starts_with(keys::VOID)) {
                if let Err(fault) = self.judge.swept(&stored, now) {
                    self.fail(fault);
                }
                return;
            }
            self.sweep();
            let done = self.time() + MINUTE;
            self.run_until(done);
        }
        self.fail(format!("{SWEEPS} pages do not end a sweep"));
    }

    pub(super) fn administered(&mut self, task: AdminTask, outcome: Result<Option<String>, String>) {
        let AdminTask { server, verb, token, history } = task;
        match outcome {
            Err(_) if verb == "flush" => self.judge.counted_rows_failed(server),
            Ok(Some(secret)) if history == self.judge.history => self.enrol_anew(token, Some(secret)),
            Ok(None) if verb == "create" && history == self.judge.history => {
                self.enrol_anew(token, self.tokens[token].spec_secret());
            }
            Ok(None)
                if verb == "apply" && history == self.judge.history && self.spec_secret_is_new(token) =>
            {
                self.enrol_anew(token, self.tokens[token].spec_secret());
            }
            Ok(_) => {}
            Err(refusal) => self.note(|| format!("the administrator is refused {verb}: {refusal}")),
        }
    }

    /// The file has another secret than the store knew, as after a restore to before the token was made anew: it is in
    /// force by the apply.
    fn spec_secret_is_new(&self, token: usize) -> bool {
        let plan = &self.tokens[token];
        let Some(view) = self.judge.view(&plan.name) else { return false };
        let record = &view.enrolment.secret;
        let in_force = !view.enrolment.is_bound() && record.generated.is_none() && !record.spec_void;
        in_force && plan.spec_secret().is_some() && plan.spec_secret() != view.secret
    }

    /// After `reset`, or when the token was created again: the machine is given the new secret, or the initial key again;
    /// half of those with a secret are told to forget their state first.
    fn enrol_anew(&mut self, token: usize, secret: Option<String>) {
        let name = self.tokens[token].name.clone();
        let Some(view) = self.judge.views.tokens.get_mut(&name) else { return };
        if view.enrolment.is_bound() {
            // Somebody else reset it again, or it is bound already.
            return;
        }
        view.secret = secret.clone();
        self.judge.taint(&name).reset = true;
        let machines: Vec<usize> = (0..self.actors.len())
            .filter(|a| self.actors[*a].honest && self.actors[*a].token == token)
            .collect();
        for actor in machines {
            self.process_dies(actor, 1_000_000);
            let forgets = secret.is_none() || self.rng(&[0xf0, actor as u64, self.judge.step]).chance(500);
            let knows = &mut self.judge.holders[actor].knows;
            if forgets {
                self.actors[actor].disk.wipe();
                *knows = Knowledge::default();
                self.tokens[token].place_key(&self.actors[actor].disk);
                knows.learn(super::edges::view(&self.actors[actor].disk.load().unwrap_or_default()));
            }
            knows.secret.clone_from(&secret);
            let mut rng = self.rng(&[0x71, actor as u64]);
            self.actors[actor].plan =
                std::sync::Arc::new(self.tokens[token].join_plan(secret.as_deref(), &mut rng));
        }
    }

    /// The remedy of the docs for what shuts the token's machine out now, if anything does.
    pub(super) fn heal(&mut self, token: usize) -> Option<&'static str> {
        let name = self.tokens[token].name.clone();
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let view = self.judge.view(&name)?.clone();
        if view.token.is_none() {
            self.recreate(token);
            return Some("the token had been removed");
        }
        let theft = self.judge.taint(&name).theft;
        if view.is_expired(now) {
            self.tokens[token].token.expires = None;
            self.apply(token);
            return Some("the token had expired");
        }
        let locks: Vec<LockOrigin> =
            self.judge.views.locks_for(&name, now).map(|lock| lock.origin.clone()).collect();
        if locks.contains(&LockOrigin::ByHand) {
            self.unlock(token);
            return Some("locked by hand");
        }
        if view.registration_ended(now) {
            self.tokens[token].token.spec.bound_keypair.onboarding.must_register_before = None;
            self.apply(token);
            return Some("the time for registering had passed");
        }
        if !locks.is_empty() {
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
        if let Some(count) = self.judge.recoveries_needed(&name, now) {
            self.verb("grant-recovery", token, VerbRequest { count: Some(count), ..VerbRequest::default() });
            return Some("recoveries used up: grant-recovery");
        }
        None
    }
}
