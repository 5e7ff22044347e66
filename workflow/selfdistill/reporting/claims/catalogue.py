"""Lists all claims that are judged: a paper's file in this folder adds its tuple here."""

from selfdistill.reporting.claims import opd, rlcsd, rlsd, sdpo, tc_rlsd
from selfdistill.reporting.claims.predicates import Claim

CLAIMS: tuple[Claim, ...] = (*rlcsd.CLAIMS, *opd.CLAIMS, *sdpo.CLAIMS, *rlsd.CLAIMS, *tc_rlsd.CLAIMS)
