use boundkey_store::records::{
    AuthorityRecord, BotRecord, CaBundleRecord, ClusterRecord, EnrolmentRecord, EventRecord, InstanceEntry,
    LockIndex, LockRecord, Record, RevokedRecord, TokenRecord,
};

/// A record as a store returns it (a damaged file, a restored backup, somebody's hand): read as each kind.
pub fn stored_record(data: &[u8]) {
    read::<TokenRecord>(data);
    read::<EnrolmentRecord>(data);
    read::<InstanceEntry>(data);
    read::<BotRecord>(data);
    read::<LockRecord>(data);
    read::<LockIndex>(data);
    read::<EventRecord>(data);
    read::<AuthorityRecord>(data);
    read::<ClusterRecord>(data);
    read::<CaBundleRecord>(data);
    read::<RevokedRecord>(data);
}

/// Written out, it is read as the same.
fn read<R: Record>(data: &[u8]) {
    if let Ok(record) = R::decode(data) {
        let written = record.encode();
        let again = R::decode(&written).expect("what was written is read");
        assert_eq!(
            String::from_utf8_lossy(&again.encode()),
            String::from_utf8_lossy(&written),
            "{}",
            R::KIND
        );
    }
}
