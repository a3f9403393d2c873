//! Who belongs to a group, and who leads it: the next safe change, when a replica has caught up, who may lead next. The rules decide;
//! a change is made by the leader of the group, one at a time.

pub mod catch_up;
pub mod reconcile;
pub mod step;
pub mod transfer;
