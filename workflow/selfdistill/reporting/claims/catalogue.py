"""All claims that are judged, paper by paper: a paper's file beside this one adds its tuple here."""

from selfdistill.reporting.claims import opd, rlcsd, sdpo
from selfdistill.reporting.claims.predicates import Claim

CLAIMS: tuple[Claim, ...] = (*rlcsd.CLAIMS, *opd.CLAIMS, *sdpo.CLAIMS)
