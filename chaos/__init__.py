"""The fault drill: a load of contacts while everything is killed at random, and what must still hold afterwards.

``make chaos SEED=7``. ``lives`` says what happens to the contacts and ``teller`` tells the front door of it, over and
over until it is acknowledged; ``provider`` takes the messages and misbehaves; ``monkey`` kills; ``verdict`` judges.
"""
