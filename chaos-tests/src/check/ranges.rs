//! Pure: do replicas that have applied the same say the same of every range of rows, and is it what a reader finds there?

use super::Violation;
use raft::compare::walk::Report;
use raft::machine::range_digest::{RangeDigest, RowSum, differing};

const JUDGE: &str = "ranges";

/// What one replica says of a collection, range by range, and what a reader finds in all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it says.
    pub ranges: Vec<RangeDigest>,
    /// What is found.
    pub found: RangeDigest,
}

/// Holds them against each other. The first has cut the ranges, at the stamp of all.
///
/// # Errors
/// Broken: two differ in a range, or one leaves out what a reader finds.
pub fn check(told: &[Told]) -> Result<(), Violation> {
    let Some(first) = told.first() else { return Ok(()) };
    for (n, one) in told.iter().enumerate() {
        let differ = differing(&first.ranges, &one.ranges);
        if let Some(range) = differ.first() {
            let what =
                format!("replicas 0 and {n} differ in {} ranges, the first is {range:?}", differ.len());
            return Err(Violation::broken(JUDGE, what));
        }
        let sum = one.ranges.iter().fold(RowSum::default(), |sum, one| sum.and(one.sum));
        if sum != one.found.sum {
            let what = format!(
                "replica {n} says {sum:?} of {:?}, and {:?} is there",
                one.found.range, one.found.sum
            );
            return Err(Violation::broken(JUDGE, what));
        }
    }
    Ok(())
}

/// Holds what a comparison of `replicas` reports against that: they differ nowhere, and it has been over all of the `rows` that a reader
/// finds. With one replica there is nothing to compare.
///
/// # Errors
/// Broken: it has found a difference, left out a replica, or rows.
pub fn check_report(report: &Report, replicas: usize, rows: u64) -> Result<(), Violation> {
    let fault = match replicas {
        0 | 1 => None,
        _ if report.differs() => {
            let (ranges, odd) = (report.differences.len() as u64 + report.more, report.odd());
            Some(format!("a comparison finds that replicas differ in {ranges} ranges, {odd:?} are odd"))
        }
        _ if report.replicas.len() != replicas => Some(format!("a comparison left out {:?}", report.out)),
        _ if report.rows != rows => {
            Some(format!("a comparison went over {} rows, and {rows} are there", report.rows))
        }
        _ => None,
    };
    fault.map_or(Ok(()), |fault| Err(Violation::broken(JUDGE, fault)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{CollectionId, TenantId};
    use raft::machine::range_digest::RowRange;

    fn told(sums: [u128; 2]) -> Told {
        let all = RowRange::all(TenantId(1), CollectionId(1));
        let parts = [
            RowRange { end: Some(vec![5]), ..all.clone() },
            RowRange { start: Some(vec![5]), ..all.clone() },
        ];
        let sum = |sum| RowSum { rows: 1, sum };
        let ranges = parts.into_iter().zip(sums).map(|(range, of)| RangeDigest { range, sum: sum(of) });
        let found = RangeDigest { range: all, sum: sum(sums[0]).and(sum(sums[1])) };
        Told { ranges: ranges.collect(), found }
    }

    #[test]
    fn the_same_of_every_range_is_good() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[told([1, 2]), told([1, 2]), told([1, 2])]), Ok(()));
    }

    #[test]
    fn another_sum_in_one_range_is_told() {
        let text = check(&[told([1, 2]), told([1, 2]), told([1, 3])]).unwrap_err().to_string();
        assert!(text.starts_with("ranges: replicas 0 and 2 differ in 1 ranges"), "{text}");
    }

    #[test]
    fn a_comparison_that_differs_or_leaves_something_out_is_told() {
        use raft::compare::walk::Out;
        use raft::types::ReplicaId;
        let good = Report { replicas: [1, 2].map(ReplicaId).into(), rows: 7, ..Report::default() };
        assert_eq!((check_report(&good, 2, 7), check_report(&Report::default(), 1, 7)), (Ok(()), Ok(())));
        let differs = Report { more: 1, ..good.clone() };
        let out = [(ReplicaId(2), Out::Silent)].into();
        let less = Report { replicas: [ReplicaId(1)].into(), out, ..good.clone() };
        for (bad, rows) in [(&differs, 7), (&less, 7), (&good, 8)] {
            let text = check_report(bad, 2, rows).unwrap_err().to_string();
            assert!(text.starts_with("ranges: a comparison "), "{text}");
        }
    }

    #[test]
    fn what_all_leave_out_is_told() {
        let mut less = told([1, 2]);
        less.ranges[1].sum = RowSum::default();
        let text = check(&[less.clone(), less]).unwrap_err().to_string();
        assert!(text.starts_with("ranges: replica 0 says") && text.contains("2 rows"), "{text}");
    }
}
