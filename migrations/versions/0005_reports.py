"""Create the table of training reports."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('reports',
    sa.Column('model', sa.String(length=64), nullable=False),
    sa.Column('version', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('format', sa.String(length=16), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['model', 'version'], ['versions.model', 'versions.number'], name=op.f('fk_reports_model_version_versions'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('model', 'version', 'format', name=op.f('pk_reports'))
    )


def downgrade() -> None:
    op.drop_table('reports')
