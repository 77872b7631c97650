//! The places of a listener: who gets one, and who has to give one up when there is none left.
//!
//! Places are [`Shares`], by source network or, on the administration socket, by user. When somebody comes for whom there
//! is none, the peer that the server has waited for longest ends and gives up its place. Peers that the server works for
//! keep theirs, and so does everybody for [`MOMENT`]: an honest peer answers in less. If that is all of them, the newcomer
//! waits, and those behind it in the kernel's queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::guest::Guest;
use crate::admission::{Shares, Source};

/// Nobody who made the server wait no longer than this gives up its place.
const MOMENT: Duration = Duration::from_secs(1);
/// How often it is looked whether a place can be given up, besides whenever somebody leaves.
const LOOK: Duration = Duration::from_millis(50);
/// Whoever has to be looked for among all is looked for this often at most: a network that has its share and goes on
/// coming must not keep the listener busy.
const PACE: Duration = Duration::from_millis(5);
/// In a full house one look ends so many of each thousand: the next newcomers find their places free.
const OF_THOUSAND: usize = 2;
/// So many give up their places for one newcomer whose network has its share, at most.
const FOR_ONE: usize = 4;

/// The places; cheap to clone.
#[derive(Clone)]
pub(super) struct House(Arc<Inner>);

struct Inner {
    rooms: Mutex<Rooms>,
    left: Notify,
}

struct Rooms {
    open: Shares,
    /// Places that insiders alone may have.
    kept: Option<Shares>,
    guests: HashMap<u64, Row>,
    next: u64,
    /// Guests that are dismissed and not gone yet.
    going: usize,
    /// For a network that has its share nobody is looked for before this.
    rests: Option<Instant>,
}

struct Row {
    source: Source,
    guest: Guest,
    kept: bool,
    dismissed: bool,
}

/// Whether there is a place.
enum Room {
    Taken(u64, Guest),
    /// Not yet: somebody gives one up, or everybody has to be waited for.
    Soon,
    /// Not for this source.
    Refused,
}

impl House {
    /// So many places for everybody, and so many more that insiders alone may have.
    pub(super) fn new(places: usize, kept: usize) -> Self {
        Self(Arc::new(Inner { rooms: Mutex::new(Rooms::new(places, kept)), left: Notify::new() }))
    }

    /// A place, and the guest that has it. None if the source's network has its share, and nobody gives a place up for it.
    pub(super) async fn enter(&self, source: Source, insider: bool) -> Option<(Guest, Place)> {
        let mut dismissed = 0;
        loop {
            let room = self.rooms().try_enter(source, insider, &mut dismissed, Instant::now());
            match room {
                Room::Taken(id, guest) => return Some((guest, Place { house: self.clone(), id })),
                Room::Refused => return None,
                Room::Soon => drop(tokio::time::timeout(LOOK, self.0.left.notified()).await),
            }
        }
    }

    /// Waits until nobody is left.
    pub(super) async fn emptied(&self) {
        while !self.rooms().guests.is_empty() {
            self.0.left.notified().await;
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    fn new(places: usize, kept: usize) -> Self {
        let kept = (kept > 0).then(|| Shares::new(kept));
        Self { open: Shares::new(places), kept, guests: HashMap::new(), next: 0, going: 0, rests: None }
    }

    /// `dismissed` counts who gave up a place for this newcomer.
    fn try_enter(&mut self, source: Source, insider: bool, dismissed: &mut usize, now: Instant) -> Room {
        let open = self.open.take(source, 1);
        let kept = !open && insider && self.kept.as_mut().is_some_and(|kept| kept.take(source, 1));
        if open || kept {
            let (id, guest) = (self.next, Guest::new(now));
            self.next += 1;
            self.guests.insert(id, Row { source, guest: guest.clone(), kept, dismissed: false });
            return Room::Taken(id, guest);
        }
        if self.going > 0 {
            return Room::Soon;
        }
        let full = self.open.is_used_up();
        let rests = *dismissed == 0 && self.rests.is_some_and(|until| now < until);
        if !full && (rests || *dismissed >= FOR_ONE) {
            return Room::Refused;
        }
        self.rests = Some(now + PACE);
        let held = self.open.held(source.network());
        let may_go = |row: &&mut Row| {
            (insider || !row.kept)
                && (full
                    || self.open.held(row.source.network()) > held
                    || row.source.neighbourhood() == source.neighbourhood())
        };
        let at_once = if full { (self.guests.len() * OF_THOUSAND / 1000).max(1) } else { 1 };
        let mut waiting: Vec<(Instant, &mut Row)> = self
            .guests
            .values_mut()
            .filter(may_go)
            .filter_map(|row| row.guest.waiting_since().map(|since| (since, row)))
            .filter(|(since, _)| *since + MOMENT <= now)
            .collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        let ended = waiting.len().min(at_once);
        for (_, row) in waiting.into_iter().take(at_once) {
            row.dismissed = true;
            row.guest.dismiss();
        }
        self.going += ended;
        *dismissed += ended;
        if ended > 0 || full { Room::Soon } else { Room::Refused }
    }

    fn leave(&mut self, id: u64) {
        let Some(row) = self.guests.remove(&id) else { return };
        self.going -= usize::from(row.dismissed);
        let shares = if row.kept { self.kept.as_mut() } else { Some(&mut self.open) };
        if let Some(shares) = shares {
            shares.give(row.source, 1);
        }
    }
}

/// A place; given back when it is dropped. Drop it after the connection itself: what it counts is descriptors.
pub(super) struct Place {
    house: House,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.house.rooms().leave(self.id);
        self.house.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::guest::UnderWay;
    use super::super::progress::Phase;
    use super::*;

    fn network(number: u16) -> Source {
        let [high, low] = number.to_be_bytes();
        Source::of(Some([10, high, low, 1].into()))
    }

    struct Scene {
        rooms: Rooms,
        now: Instant,
        /// Requests that are worked on.
        work: Vec<(u64, Arc<UnderWay>)>,
    }

    impl Scene {
        fn new(places: usize, kept: usize) -> Self {
            Self { rooms: Rooms::new(places, kept), now: Instant::now(), work: Vec::new() }
        }

        /// Somebody comes, and everybody who is dismissed goes. None: sent away, or it would have to wait.
        fn comes(&mut self, source: Source, insider: bool) -> Option<u64> {
            let mut dismissed = 0;
            loop {
                match self.rooms.try_enter(source, insider, &mut dismissed, self.now) {
                    Room::Taken(id, _) => return Some(id),
                    Room::Refused => return None,
                    Room::Soon => {
                        let rows = self.rooms.guests.iter();
                        let (id, _) = rows.clone().find(|(_, row)| row.dismissed)?;
                        let id = *id;
                        self.rooms.leave(id);
                    }
                }
            }
        }

        fn works_for(&mut self, id: u64) {
            self.work.push((id, UnderWay::new(&self.rooms.guests[&id].guest, Phase::Working)));
        }

        fn later(&mut self) {
            self.now += MOMENT;
        }
    }

    #[test]
    fn who_kept_the_server_waiting_longest_gives_up_its_place() {
        let mut scene = Scene::new(64, 0);
        for number in 0..64 {
            let id = scene.comes(network(number), false).unwrap();
            if number < 3 {
                scene.works_for(id);
            }
            scene.later();
        }
        assert_eq!(scene.comes(network(1000), false), Some(64));
        let gone: Vec<u64> = (0..65).filter(|id| !scene.rooms.guests.contains_key(id)).collect();
        assert_eq!((gone, scene.rooms.open.used()), (vec![3], 64));
    }

    #[test]
    fn nobody_gives_up_its_place_in_its_first_moment_or_while_it_is_worked_for() {
        let mut scene = Scene::new(4, 0);
        for number in 0..4 {
            let id = scene.comes(network(number), false).unwrap();
            scene.works_for(id);
        }
        scene.later();
        assert_eq!(scene.comes(network(9), false), None);
        let mut dismissed = 0;
        let waits = scene.rooms.try_enter(network(9), false, &mut dismissed, scene.now);
        assert!(matches!(waits, Room::Soon), "nobody is sent away for it");
        scene.work.pop();
        assert_eq!(scene.comes(network(9), false), None, "it is waited for since just now");
        scene.later();
        scene.later();
        assert!(scene.comes(network(9), false).is_some());
    }

    #[test]
    fn a_network_with_its_share_gives_up_its_own_places_and_no_others() {
        let mut scene = Scene::new(210, 0);
        while scene.comes(network(1), false).is_some() {}
        let share = scene.rooms.open.used();
        scene.comes(network(2), false).unwrap();
        for _ in 0..50 {
            scene.later();
            scene.comes(network(1), false).expect("a place of its own network");
        }
        assert!(scene.rooms.open.held(network(1).network()) <= share);
        assert_eq!(scene.rooms.open.held(network(2).network()), 1, "the other keeps its place");
    }

    #[test]
    fn another_user_whose_requests_never_end_locks_no_administrator_out() {
        let mut scene = Scene::new(64, 16);
        // However many users there are.
        for user in 1000..2000 {
            while let Some(id) = scene.comes(Source::user(user), false) {
                scene.works_for(id);
            }
        }
        assert!(scene.rooms.open.is_used_up());
        for _ in 0..8 {
            let id = scene.comes(Source::user(0), true).expect("of the places that are kept");
            scene.works_for(id);
        }
        scene.later();
        assert_eq!(scene.comes(Source::user(1000), false), None);
    }

    #[test]
    fn idle_clients_of_the_administrator_lock_nobody_out() {
        let mut scene = Scene::new(64, 16);
        for _ in 0..200 {
            scene.comes(Source::user(0), true).expect("a place");
            scene.later();
        }
        assert!(scene.comes(Source::user(0), true).is_some());
        assert!(scene.comes(Source::user(7), false).is_some());
    }
}
