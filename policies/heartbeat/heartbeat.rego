package admission.heartbeat

import data.admission.lib

deny contains violation if some violation in lib.every_hook

deny contains violation if some violation in status_values
