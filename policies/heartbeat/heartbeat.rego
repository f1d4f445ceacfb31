package admission.heartbeat

import data.admission.lib

deny contains violation if some violation in lib.every_hook
