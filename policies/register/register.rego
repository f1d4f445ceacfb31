package admission.register

import data.admission.lib

deny contains violation if some violation in lib.every_hook
