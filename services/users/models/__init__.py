"""Tables of the users service, one module per subject. Importing this package completes the metadata."""

from services.users.models import accounts as accounts
from services.users.models import credentials as credentials
from services.users.models import credit as credit
from services.users.models import data_export as data_export
from services.users.models import erasure as erasure
from services.users.models import one_time_tokens as one_time_tokens
from services.users.models import second_factors as second_factors
from services.users.models import security_record as security_record
from services.users.models import sessions as sessions
from services.users.models.declarative import Base as Base
