"""Chains about what is eaten, drunk and taken."""

from __future__ import annotations

from benchmarks.skill.chain_texts_model import Group, coined, read_predicates, read_told

DISHES = Group(
    read_told("""
    My favourite dish is | my favourite dish
    My signature dish is | my signature dish
    For lunch I have | my lunch | For lunch I have a dish
    On Sundays I cook | my Sunday meal | On Sundays I cook a dish
    The dish I hate is | my least favourite dish
    My mother always cooked | my mother's dish | My mother always cooked a dish
    """),
    (),
    coined("oulash otto adilla uchi esco aro"),
    read_predicates("""
    {e} is a kind of / {e} is a type of / {e} is a sort of | dish
        What kind of dish is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} counts as a
        What type of dish is {my}?
    {e} is made from / {e} is made with / The main ingredient of {e} is | berry
        What is {my} made from?
        {my} is made from
        {my} is made with
        {my}'s main ingredient is
        {lead} made from
        What goes into {my} above all?
    The recipe for {e} comes from / {e} was first cooked in / {e} is a dish from | region
        Where does the recipe for {my} come from?
        The recipe for {my} comes from
        {my} was first cooked in
        {my}'s home is
        {lead} from the region of
        Which region gave us {my}?
    {e} is served with / {e} goes with / The side dish of {e} is | food
        What is {my} served with?
        {my} is served with
        {my}'s side dish is
        {my} goes with
        {lead} that is served with
        Next to {my} on the plate comes
    The cooking time of {e} is / {e} has to cook for / {e} stays on the stove for | duration
        How long does {my} have to cook?
        {my}'s cooking time is
        The cooking time of {my} is
        {my} has to cook for
        {lead} that has to cook for
        How long is {my} on the stove?
    The best cook of {e} is / {e} is cooked best by / Nobody makes {e} like | person
        Who cooks {my} best?
        The best cook of {my} is
        {my} is cooked best by
        {my}'s best cook is
        Who makes the finest version of {my}?
        Whom should I ask to cook {my}?
    The best place for {e} is / {e} is served best at / {e} is a speciality of | organisation
        Where do they serve {my} best?
        The best place for {my} is
        {my} is best at
        {my} is a speciality of
        Where should I go for {my}?
        Which place has good {my}?
    """),
)
DRINKS = Group(
    read_told("""
    My favourite drink is | my favourite drink
    At breakfast I drink | my breakfast drink | At breakfast I drink something
    In the evening I sip | my evening drink | In the evening I sip something
    My grandfather brews | my grandfather's drink | My grandfather brews something
    I always order | my usual drink | I always order something
    The drink at our feast is | my feast drink
    """),
    (),
    coined("ade ola aska ito unch ira"),
    read_predicates("""
    {e} is a kind of / {e} is a type of / {e} counts as | drink
        What kind of drink is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} counts as
        What type of drink is {my}?
    {e} is made from / {e} is pressed from / The main ingredient of {e} is | berry
        What is {my} made from?
        {my} is made from
        {my} is pressed from
        {my}'s main ingredient is
        {lead} made from
        What do they press to make {my}?
    {e} is brewed by / The maker of {e} is / {e} is a product of | organisation
        Who brews {my}?
        {my} is brewed by
        {my}'s maker is
        The maker of {my} is
        {lead} brewed by
        Which firm makes {my}?
    {e} comes from the area of / The home of {e} is / {e} was first drunk in | region
        From which area does {my} come?
        {my} comes from the area of
        {my}'s home is
        {lead} from the area of
        {my} was first drunk in
        Where did people first drink {my}?
    {e} is served in / {e} is drunk from / One drinks {e} from | vessel
        What is {my} served in?
        {my} is served in
        {my} is drunk from
        {lead} that is served in
        One should drink {my} from
        From what does one drink {my}?
    A glass of {e} costs / The price of {e} is / {e} sells at | money
        What does a glass of {my} cost?
        A glass of {my} costs
        {my}'s price is
        The price of {my} is
        How much do I pay for {my}?
    {e} goes well with / {e} is best with / The ideal meal with {e} is | food
        What does {my} go well with?
        {my} goes well with
        {my} is best with
        {lead} that goes well with
        What should one eat with {my}?
    {e} must ripen for / The ripening time of {e} is / {e} stands in the cellar for | duration
        How long must {my} ripen?
        {my} must ripen for
        {my}'s ripening time is
        {lead} that must ripen for
        {my} stands in the cellar for
    """),
)
MEDICINES = Group(
    read_told("""
    I take | my medicine | I take a medicine
    My medicine is | my medicine
    My dog is treated with | my dog's medicine | My dog is treated with a medicine
    My doctor prescribed | my new prescription | My doctor prescribed a medicine
    In my first-aid kit there is | my first-aid remedy | In my first-aid kit there is a medicine
    My father swears by | my father's remedy | My father swears by a medicine
    """),
    (),
    coined("ax il iol exan umab ocin"),
    read_predicates("""
    {e} belongs to the class of / {e} is one of the / The class of {e} is that of | remedy
        To which class of medicines does {my} belong?
        {my} belongs to the class of
        {my} is one of the
        {lead} of the class of
        {my}'s class is that of
        Which class is {my} from?
    {e} is made by / The maker of {e} is / {e} is a product of | organisation
        Who makes {my}?
        {my} is made by
        {my}'s maker is
        The maker of {my} is
        {lead} made by
        Which firm produces {my}?
    {e} helps against / {e} is used against / {e} is a cure for | ailment
        What does {my} help against?
        {my} helps against
        {my} is used against
        {lead} that helps against
        {my} is a cure for
        Which ailment is {my} for?
    {e} is made from / {e} is extracted from / The source of {e} is | berry
        What is {my} made from?
        {my} is made from
        {my} is extracted from
        {my}'s source is
        {lead} extracted from
        From what do they extract {my}?
    A box of {e} costs / The price of {e} is / {e} costs per box | money
        What does a box of {my} cost?
        A box of {my} costs
        {my}'s price is
        The price of {my} is
        How much is a box of {my}?
    {e} works for / The effect of {e} lasts / {e} keeps its effect for | duration
        How long does {my} work?
        {my} works for
        {my}'s effect lasts
        The effect of {my} lasts
        {lead} that works for
        For how long do I feel the effect of {my}?
    {e} must not be taken with / {e} does not go with / Whoever takes {e} must avoid | food
        What must {my} not be taken with?
        {my} must not be taken with
        {my} does not go with
        {lead} that does not go with
        What food must I avoid because of {my}?
    {e} was discovered by / The discoverer of {e} is / {e} was found by | person
        Who discovered {my}?
        {my} was discovered by
        {my}'s discoverer is
        {lead} discovered by
        The discoverer of {my} is
        Who found {my}?
    """),
)
FOOD_GROUPS = (DISHES, DRINKS, MEDICINES)
