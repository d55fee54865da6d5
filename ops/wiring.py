"""From the policy to the connectors: which system does what."""

from connectors.configured import Wiring
from contacts.policy import Policy


def wiring(policy: Policy) -> Wiring:
    """Which system does what, as the policy says."""
    carriers = policy.carriers.items()
    return Wiring(
        providers={c: [p.primary, *([p.fallback] if p.fallback else [])] for c, p in carriers},
        crm=policy.systems.crm,
        alert=policy.systems.alert,
        told=list(dict.fromkeys(rule.to for rule in policy.outgoing)),
        endpoints={endpoint.name: endpoint.url for endpoint in policy.endpoints},
        asked=policy.polls,
    )
