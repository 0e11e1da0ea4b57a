"""The process in which transformers reads a checkpoint's configuration and tokenizer.

A folder is downloaded, and the libraries that read it can be made to hang, to fill the memory or to end the process. A
process of its own also spares this one the import of transformers, which takes two seconds where torch is there.
"""

from edgesw.system.bounded_process import BoundedProcess

READER = BoundedProcess("edgesw.checkpoint.hf_process")
