use boundkey_lifecycle::{Enrolment, InstanceRecord, Uid};
use serde::{Deserialize, Serialize};

/// What the server remembers of the lineage behind a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentRecord {
    /// Of the token: an enrolment of a removed token of the same name is not this one's.
    pub uid: Uid,
    /// The state of the lineage.
    pub enrolment: Enrolment,
}

/// One client of a shared lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEntry {
    /// The token's name.
    pub token: String,
    /// The state of the instance.
    pub record: InstanceRecord,
}

super::encoded_as_it_is!(EnrolmentRecord, "enrolment");
super::encoded_as_it_is!(InstanceEntry, "instance");
