//! The real service, and a verifier that accepts everything: what the inner claims of messages can do once every
//! signature and tag holds. `message` puts them together, `judge` says what must hold of each answer.

mod judge;
mod message;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::LazyLock;

use boundkey_api::VerbRequest;
use boundkey_keys::testing::AcceptEverything;
use boundkey_proto::{AttemptId, JoinAnswer};
use boundkey_service::admin::{apply_resources, carry_out_verb, remove_lock, remove_token};
use boundkey_service::{RequestContext, join};
use boundkey_store::MemorySnapshot;
use boundkey_token::Resource;

use self::message::Parts;
use super::world::{SECRET, Site, home, poll, token};
use super::{Choices, say};
use crate::scene::key;

/// A secret, a preregistered key, many clients of one key, a bot; the last one is nobody's.
const TOKENS: [&str; 5] = ["web-1", "web-2", "web-3", "bot-1", "none"];
const MODES: [&str; 3] = ["standard", "relaxed", "insecure"];
/// The keys that tokens name: see [`super::forge`].
const INITIAL: [u8; 2] = [30, 31];
const MOST: usize = 400;

fn token_yaml(n: usize, mode: &str, more: &str) -> String {
    let initial = |n: u8| format!("initial_public_key: {}", key(n).public_key().to_openssh());
    let onboarding = match n {
        1 => initial(INITIAL[0]),
        2 => initial(INITIAL[1]),
        _ => format!("registration_secret: {SECRET}"),
    };
    let yaml = token(TOKENS[n], &onboarding, more).replace("mode: standard", &format!("mode: {mode}"));
    if n == 3 { yaml.replace("roles: [Node]", "roles: [Bot]\n  bot_name: deploy") } else { yaml }
}

/// What an administrator may write into each token.
static SPECS: LazyLock<Vec<Vec<Resource>>> = LazyLock::new(|| {
    let read = |yaml: String| boundkey_token::read_resources(yaml.as_bytes()).expect("good resources");
    let mut specs = Vec::new();
    for n in 0..4 {
        for mode in MODES {
            specs.push(read(token_yaml(n, mode, "")));
        }
        specs.push(read(token_yaml(n, "standard", "    rotate_after: \"2030-01-03T00:00:00Z\"\n")));
        let expires = ", expires: \"2030-02-01T00:00:00Z\"}";
        specs.push(read(token_yaml(n, "standard", "").replacen('}', expires, 1)));
    }
    specs
});

fn site() -> Site {
    let bot = "kind: bot\nversion: v1\nmetadata: {name: deploy}\nspec: {logins: [deploy]}\n---\n";
    let tokens: String = [(0, "standard"), (1, "relaxed"), (2, "insecure"), (3, "standard")]
        .map(|(n, mode)| token_yaml(n, mode, ""))
        .concat();
    home(&format!("{bot}{tokens}"))
}

thread_local! {
    static HOME: OnceCell<Site> = const { OnceCell::new() };
}

/// Hundreds of messages with any content at all, behind signatures and tags that all hold, between the acts of
/// administrators, restored backups and stepped clocks.
pub fn server_accepts_all(data: &[u8]) {
    HOME.with(|home| {
        let site = home.get_or_init(site);
        site.reset();
        let _all = AcceptEverything::on_this_thread();
        let mut choices = Choices { most: MOST, ..Choices::new(data) };
        let mut world = World::new(site);
        while choices.more() {
            world.step(&mut choices);
        }
    });
}

/// A machine that keeps to the protocol as far as it gets.
#[derive(Clone)]
struct Machine {
    token: usize,
    bound: usize,
    new: Option<usize>,
    state: Option<String>,
    attempt: u16,
    /// An attempt is pending.
    tried: bool,
}

/// What a backup brings back.
#[derive(Clone)]
struct Book {
    /// Which attempt advanced which lineage, and what it presented.
    admitted: HashSet<(Vec<u8>, AttemptId, Option<String>)>,
    /// A join state that no server made took a lineage where it never was.
    carried_off: bool,
    secrets: [String; 4],
}

struct World<'s> {
    site: &'s Site,
    context: RequestContext,
    machines: Vec<Machine>,
    challenges: Vec<String>,
    messages: Vec<Parts>,
    states: Vec<String>,
    /// Join states that the service made.
    made: HashSet<String>,
    book: Book,
    backups: Vec<(MemorySnapshot, Book)>,
    next_key: usize,
    next_attempt: u16,
}

impl<'s> World<'s> {
    fn new(site: &'s Site) -> Self {
        let machine = |token, bound: usize, attempt| Machine {
            token,
            bound,
            new: None,
            state: None,
            attempt,
            tried: false,
        };
        Self {
            site,
            context: site.service.own_context(),
            machines: vec![
                machine(0, 1, 1),
                machine(1, usize::from(INITIAL[0]), 2),
                machine(2, usize::from(INITIAL[1]), 3),
                machine(2, usize::from(INITIAL[1]), 4),
                machine(3, 4, 5),
                machine(0, 5, 6),
            ],
            challenges: Vec::new(),
            messages: Vec::new(),
            states: Vec::new(),
            made: HashSet::new(),
            book: Book {
                admitted: HashSet::new(),
                carried_off: false,
                secrets: std::array::from_fn(|_| SECRET.to_owned()),
            },
            backups: Vec::new(),
            next_key: 6,
            next_attempt: 16,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.below(24);
        let n = choices.below(self.machines.len());
        say((operation, n));
        match operation {
            0..=3 => self.join(n, choices.below(4)),
            4..=6 => self.copied(n, choices),
            7..=11 => {
                let parts = self.composed(n, choices);
                self.send(&parts);
                self.remember(parts);
            }
            12 | 13 => {
                if let Some(mut parts) = choices.one_of(&self.messages).cloned() {
                    self.bent(&mut parts, choices);
                    self.send(&parts);
                    self.remember(parts);
                }
            }
            14 => {
                if let Some(parts) = choices.one_of(&self.messages).cloned() {
                    self.send(&parts);
                }
            }
            15 => self.step_clock(choices.byte()),
            16 | 17 => self.verb(n, choices),
            18 => self.lock(n, choices),
            19 => {
                let spec = 5 * self.machines[n].token + choices.below(5);
                let resources = &SPECS[spec];
                let applied = poll(apply_resources(&self.site.service, &self.context, resources, true));
                say(applied.err().map(|refusal| refusal.problem.code));
            }
            20 if choices.below(4) == 0 => self.made_anew(n, choices.flag()),
            20 => {
                self.machines[n] =
                    choices.one_of(&self.machines).cloned().unwrap_or_else(|| self.machines[n].clone())
            }
            21 => {
                if self.backups.len() < 6 {
                    self.backups.push((self.site.store.snapshot(), self.book.clone()));
                }
            }
            22 => {
                if let Some((backup, book)) = choices.one_of(&self.backups) {
                    self.site.store.restore(backup);
                    self.book = book.clone();
                }
            }
            _ => {
                // A machine that lost what it had, or presents what another one has.
                self.machines[n].state = choices.one_of(&self.states).cloned().filter(|_| choices.flag());
            }
        }
    }

    fn remember(&mut self, parts: Parts) {
        if self.messages.len() < 32 {
            self.messages.push(parts);
        } else {
            let at = self.messages.len() - 1;
            self.messages[at] = parts;
        }
    }

    /// An honest join. Its last answer may be lost, and it may stop before it is over.
    fn join(&mut self, n: usize, loses: usize) {
        let machine = &mut self.machines[n];
        if !std::mem::replace(&mut machine.tried, true) {
            self.next_attempt += 1;
            machine.attempt = self.next_attempt;
        }
        let mut challenge = join::begin(&self.site.service, self.site.now()).challenge;
        for _ in 0..5 {
            let parts = self.honest(n, &challenge);
            self.remember(parts.clone());
            match self.send(&parts) {
                Some(JoinAnswer::Admitted(result)) if loses != 1 => {
                    let machine = &mut self.machines[n];
                    if let Some(new) = machine.new.take()
                        && *super::forge::public(new) == result.bound_key
                    {
                        machine.bound = new;
                    }
                    machine.state = Some(result.join_state);
                    machine.tried = false;
                    return;
                }
                Some(JoinAnswer::Confirm { challenge: fresh }) if loses != 2 => challenge = fresh,
                Some(JoinAnswer::RotationRequired {}) if self.machines[n].new.is_none() => {
                    self.next_key += 1;
                    self.machines[n].new = Some(self.next_key % 30);
                }
                _ => return,
            }
        }
    }

    /// An honest message of which one or two things say something else.
    fn copied(&mut self, n: usize, choices: &mut Choices<'_>) {
        let challenge = self.challenge(n, choices);
        let mut parts = self.honest(n, &challenge);
        for _ in 0..=choices.below(2) {
            self.bent(&mut parts, choices);
        }
        self.send(&parts);
        self.remember(parts);
    }

    /// Minutes, hours, weeks; back as well.
    fn step_clock(&mut self, choice: u8) {
        let by = i64::from(choice & 31);
        let minutes = match choice >> 5 {
            0 | 1 => by,
            2 => -by,
            3 | 4 => 60 * by,
            5 => -60 * by,
            6 => 10_080 * by,
            _ => -1440 * by,
        };
        self.site.clock.advance(time::Duration::minutes(minutes));
    }

    fn verb(&mut self, n: usize, choices: &mut Choices<'_>) {
        const VERBS: [&str; 5] = ["grant-recovery", "rotate", "resync", "revoke", "reset"];
        let (token, verb) = (self.machines[n].token, VERBS[choices.below(5)]);
        let request = VerbRequest { keep_key: choices.flag(), ..VerbRequest::default() };
        let answer = poll(carry_out_verb(&self.site.service, &self.context, TOKENS[token], verb, &request));
        say((verb, &answer));
        if let Some(secret) = answer.ok().and_then(|answer| answer.registration_secret) {
            self.book.secrets[token] = secret;
        }
    }

    /// A lock by hand, or its end.
    fn lock(&mut self, n: usize, choices: &mut Choices<'_>) {
        let token = TOKENS[self.machines[n].token];
        if choices.flag() {
            let id = format!("by-hand-{token}");
            say(poll(remove_lock(&self.site.service, &self.context, &id)).is_ok());
            return;
        }
        let identity = self.site.enrolment(token).and_then(|found| found.enrolment.identity);
        let target = match (choices.below(3), identity) {
            (0, Some(id)) if id.is_bot() => format!("bot_instance_id: {}", id.id()),
            (0, Some(id)) => format!("server_id: {}", id.id()),
            _ => format!("join_token: {token}"),
        };
        let yaml = format!(
            "kind: lock\nversion: v2\nmetadata: {{name: by-hand-{token}}}\nspec:\n  target: {{{target}}}\n"
        );
        // An identity that was made up may be no name of anything.
        let Ok(lock) = boundkey_token::read_resources(yaml.as_bytes()) else { return };
        say(poll(apply_resources(&self.site.service, &self.context, &lock, true)).is_ok());
    }

    /// The token is removed, and made again under its name: another lineage.
    fn made_anew(&mut self, n: usize, revoke: bool) {
        let token = self.machines[n].token;
        let (service, context) = (&self.site.service, &self.context);
        if poll(remove_token(service, context, TOKENS[token], revoke)).is_ok() {
            // A used secret does not come back: then the token stays away.
            say(poll(apply_resources(service, context, &SPECS[5 * token], false)).is_ok());
        }
    }
}
