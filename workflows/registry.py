"""Every journey there is. A new one is added here and nowhere else."""

from contacts.specs import Card
from workflows.abandoned_checkout import AbandonedCheckout
from workflows.adoption import Adoption
from workflows.adoption_tip import AdoptionTip
from workflows.anniversary import Anniversary
from workflows.at_risk_care import AtRiskCare
from workflows.base import Journey
from workflows.broadcast import Broadcast
from workflows.browse_follow_up import BrowseFollowUp
from workflows.cancel_save import CancelSave
from workflows.card_expiring import CardExpiring
from workflows.consultation import Consultation
from workflows.contract_signed import ContractSigned
from workflows.date_relevant import DateRelevant
from workflows.dunning import Dunning
from workflows.expansion import Expansion
from workflows.help_received import HelpReceived
from workflows.high_value import HighValue
from workflows.high_value_invitation import HighValueInvitation
from workflows.lead_answer import LeadAnswer
from workflows.loyalty_thanks import LoyaltyThanks
from workflows.milestone import Milestone
from workflows.missed_call import MissedCall
from workflows.nurture import Nurture
from workflows.onboarding import Onboarding
from workflows.payment_recovered import PaymentRecovered
from workflows.post_purchase_education import PostPurchaseEducation
from workflows.preferences import Preferences
from workflows.quiz_result import QuizResult
from workflows.reading import card_of
from workflows.reengagement import Reengagement
from workflows.referral import Referral
from workflows.renewal import Renewal
from workflows.review_request import ReviewRequest
from workflows.support_follow_up import SupportFollowUp
from workflows.survey import Survey
from workflows.survey_thanks import SurveyThanks
from workflows.value_check import ValueCheck
from workflows.value_realized import ValueRealized
from workflows.webinar_follow_up import WebinarFollowUp
from workflows.welcome import Welcome
from workflows.win_back import WinBack

JOURNEYS: tuple[type[Journey], ...] = (
    Welcome,
    Nurture,
    AbandonedCheckout,
    PostPurchaseEducation,
    Onboarding,
    Adoption,
    AdoptionTip,
    Renewal,
    Expansion,
    Referral,
    ReviewRequest,
    ContractSigned,
    ValueRealized,
    Milestone,
    HelpReceived,
    Anniversary,
    HighValueInvitation,
    HighValue,
    ValueCheck,
    LeadAnswer,
    BrowseFollowUp,
    Consultation,
    MissedCall,
    WebinarFollowUp,
    QuizResult,
    Survey,
    SurveyThanks,
    Preferences,
    AtRiskCare,
    CancelSave,
    CardExpiring,
    DateRelevant,
    Dunning,
    LoyaltyThanks,
    PaymentRecovered,
    Reengagement,
    SupportFollowUp,
    WinBack,
    Broadcast,
)

CARDS: tuple[Card, ...] = tuple(card_of(cls) for cls in JOURNEYS)
