//! Bearer tokens from a file.

use std::collections::HashMap;
use std::path::Path;

use super::User;

/// Tokens from a file of `token,user,uid,"group1,group2"` lines.
#[derive(Debug, Default)]
pub struct StaticTokens(HashMap<String, User>);

impl StaticTokens {
    /// Reads the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(path)?))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(token_line).collect())
    }

    /// The user of a token.
    pub(in crate::api) fn user(&self, token: &str) -> Option<User> {
        self.0.get(token).cloned()
    }
}

fn token_line(line: &str) -> Option<(String, User)> {
    let mut parts = line.splitn(4, ',').map(str::trim);
    let (token, name) = (parts.next()?, parts.next()?);
    let uid = parts.next().unwrap_or_default();
    let groups = parts.next().unwrap_or_default().trim_matches('"');
    let groups = groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty());
    let user = User {
        uid: uid.to_owned(),
        ..User::known(name, groups.map(str::to_owned))
    };
    (!token.is_empty() && !name.is_empty()).then(|| (token.to_owned(), user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files_name_users_their_uids_and_groups() {
        let tokens =
            StaticTokens::parse("# people\nabc,jane,1,\"dev,ops\"\nxyz,joe,2\n,nobody,3\n");
        let jane = tokens.user("abc").unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "1"));
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(tokens.user("xyz").unwrap().groups, ["system:authenticated"]);
        assert_eq!(tokens.user(""), None);
    }
}
