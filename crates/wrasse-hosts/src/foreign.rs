//! What other hosts left behind: found, classified, ended, explained.
