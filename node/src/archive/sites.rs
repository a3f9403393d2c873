//! Pure: which sites an archive has, as the setting `archive.sites` says it.
//!
//! Sites are separated by blanks, what is said of one by `;`: `eu-a=file:///srv/archive;role=home eu-b=s3://bucket;region=eu-b;...`.

use super::naming::Word;
use super::retain::policy::Policy;
use super::schedule::Quiet;
use std::path::PathBuf;

/// Sites of an archive, at most.
pub const SITES_MAX: usize = 8;

/// Where the objects of a site are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of the machine of each node that writes there: shared, or of a cluster on one machine.
    Folder(PathBuf),
    /// A bucket.
    Bucket {
        /// Its name.
        bucket: String,
        /// Where it is, if it is not Amazon's.
        endpoint: Option<String>,
        /// A file with access key and secret, a line each.
        credentials: PathBuf,
    },
}

/// What a site is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Archivers write there. There is one.
    Home,
    /// It fetches from the home site what that has.
    Copy,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSetting {
    /// What it is called.
    pub name: Word,
    /// Where it is.
    pub place: Place,
    /// What it is for.
    pub role: Role,
    /// Which region it lies in.
    pub region: String,
    /// Whether it holds back what nobody else has.
    pub is_required: bool,
    /// Bytes a second that may go there; 0 is no limit.
    pub rate_bytes_s: u64,
    /// What it keeps.
    pub policy: Policy,
    /// When nothing of a snapshot is moved there.
    pub quiet: Vec<Quiet>,
}

fn place(url: &str, said: &[(&str, &str)]) -> Result<Place, String> {
    let value = |key: &str| said.iter().find(|(said, _)| *said == key).map(|(_, value)| (*value).to_owned());
    if let Some(path) = url.strip_prefix("file://") {
        let is_whole = path.starts_with('/');
        return if is_whole {
            Ok(Place::Folder(path.into()))
        } else {
            Err(format!("{url} is no whole path"))
        };
    }
    let Some(bucket) = url.strip_prefix("s3://").map(|rest| rest.trim_end_matches('/')) else {
        return Err(format!("{url} begins neither with file:/// nor with s3://"));
    };
    let is_bucket = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_bucket) {
        return Err(format!("{bucket} is no name of a bucket"));
    }
    let credentials = value("credentials").ok_or("a bucket needs credentials=FILE")?;
    Ok(Place::Bucket {
        bucket: bucket.to_owned(),
        endpoint: value("endpoint"),
        credentials: credentials.into(),
    })
}

fn site(text: &str) -> Result<SiteSetting, String> {
    let mut pieces = text.split(';');
    let (name, url) = pieces.next().and_then(|first| first.split_once('=')).ok_or("a site is NAME=URL")?;
    let name = Word::parse(name)
        .ok_or_else(|| format!("{name} is no name of a site: lower case, digits, - and _"))?;
    let said: Vec<(&str, &str)> =
        pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "true"))).collect();
    let mut site = SiteSetting {
        place: place(url, &said)?,
        region: name.to_string(),
        name,
        role: Role::Home,
        is_required: false,
        rate_bytes_s: 0,
        policy: Policy::default(),
        quiet: Vec::new(),
    };
    for (key, value) in said {
        match (key, value) {
            ("role", "home") => site.role = Role::Home,
            ("role", "copy") => site.role = Role::Copy,
            ("required", "true") => site.is_required = true,
            ("required", "false") => site.is_required = false,
            ("region", region) if Word::parse(region).is_some() => site.region = region.to_owned(),
            ("rate", rate) => {
                let rate = crate::config::value::Bytes::parse(rate);
                site.rate_bytes_s = rate.ok_or_else(|| format!("{value} is no size, like 8MiB"))?.get();
            }
            ("keep", text) => {
                let Policy { grace_s, .. } = site.policy;
                site.policy = Policy { grace_s, ..Policy::parse(text)? };
            }
            ("quiet", text) => {
                let said = || format!("{text} is no time like mon-fri/08:00-18:00");
                site.quiet = Quiet::parse_all(text).ok_or_else(said)?;
            }
            ("grace", text) => site.policy = site.policy.with_grace(text)?,
            ("credentials" | "endpoint", _) if matches!(site.place, Place::Bucket { .. }) => {}
            _ => return Err(format!("{key}={value} says nothing of a site")),
        }
    }
    // The home site always is: without it nothing is archived.
    site.is_required |= site.role == Role::Home;
    Ok(site)
}

/// The sites that `text` names, the home site first; none if it is empty.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Vec<SiteSetting>, String> {
    let mut sites = text.split_whitespace().map(site).collect::<Result<Vec<_>, _>>()?;
    let homes = sites.iter().filter(|site| site.role == Role::Home).count();
    if !sites.is_empty() && homes != 1 {
        return Err(format!("one site must be home, not {homes}: say role=copy of the others"));
    }
    if sites.len() > SITES_MAX {
        return Err(format!("there may be {SITES_MAX} sites"));
    }
    sites.sort_by_key(|site| site.role == Role::Copy);
    let mut names: Vec<&Word> = sites.iter().map(|site| &site.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two sites have one name".to_owned());
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_what_is_said_of_them() {
        assert_eq!(parse("  "), Ok(vec![]));
        let text = "eu-b=s3://my-bucket/;role=copy;region=eu;rate=8MiB;credentials=/c;endpoint=http://h:9 eu-a=file:///srv/a";
        let sites = parse(text).unwrap();
        assert_eq!(sites.iter().map(|site| site.name.as_str()).collect::<Vec<_>>(), ["eu-a", "eu-b"]);
        assert_eq!(sites[0].place, Place::Folder("/srv/a".into()));
        assert!(sites[0].is_required && !sites[1].is_required);
        assert_eq!((sites[1].region.as_str(), sites[1].rate_bytes_s), ("eu", 8 << 20));
        assert_eq!(sites[0].policy, Policy::default());
        let quiet = parse("a=file:///a;quiet=mon-fri/08:00-18:00,22:00-06:00").unwrap().remove(0).quiet;
        assert_eq!(
            quiet.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["mon-fri/08:00-18:00", "22:00-06:00"]
        );
        let kept = parse("a=file:///a;grace=2h;keep=10d,daily:3").unwrap().remove(0).policy;
        assert_eq!((kept.to_string().as_str(), kept.grace_s), ("10d,daily:3", 7_200));
        let (bucket, endpoint) = ("my-bucket".to_owned(), Some("http://h:9".to_owned()));
        assert_eq!(sites[1].place, Place::Bucket { bucket, endpoint, credentials: "/c".into() });
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, said) in [
            ("eu-a", "NAME=URL"),
            ("EU=file:///a", "no name of a site"),
            ("a=/srv", "neither with file"),
            ("a=file://srv", "no whole path"),
            ("a=s3://bucket", "needs credentials"),
            ("a=s3://B;credentials=/c", "no name of a bucket"),
            ("a=file:///a b=file:///b", "one site must be home, not 2"),
            ("a=file:///a;role=copy", "one site must be home, not 0"),
            ("a=file:///a a=file:///b;role=copy", "two sites have one name"),
            ("a=file:///a;colour=red", "says nothing of a site"),
            ("a=file:///a;endpoint=http://x", "says nothing of a site"),
            ("a=file:///a;rate=fast", "no size"),
            ("a=file:///a;keep=daily:3", "begins with no span"),
            ("a=file:///a;keep=3d,nightly:3", "no count of points"),
            ("a=file:///a;grace=0s", "no span of a second"),
            ("a=file:///a;quiet=noon", "no time like"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
